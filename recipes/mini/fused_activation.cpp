// Anti-aliased SnakeBeta in one pass: upsample 2x, activate, downsample 2x, with a 12-tap filter.
// float32, CPU, forward and backward. It halves the time that the vocoder takes to train on a CPU.
//
// The doubled signal u is kept as its even and odd samples, so that both resamplings become plain
// 6-tap convolutions that the compiler vectorises. Replicated edges follow BigVGAN exactly.

#include <torch/extension.h>

#include <cstring>
#include <vector>

namespace {

constexpr int kPad = 24;

// sin and cos: reduce to [-pi, pi], polynomials at the half angle.
inline void sine_cosine(float angle, float& sine, float& cosine) {
  const float turns = __builtin_rintf(angle * 0.15915494309f);
  const float reduced = (angle - turns * 6.28125f) - turns * 1.9353071795864769e-3f;
  const float half = 0.5f * reduced;
  const float square = half * half;
  const float half_sine =
      half * (1 + square * (-1.6666666e-1f + square * (8.3333310e-3f + square * (-1.9840874e-4f +
             square * (2.7525562e-6f - square * 2.3889859e-8f)))));
  const float half_cosine =
      1 + square * (-0.5f + square * (4.1666638e-2f + square * (-1.3888378e-3f +
          square * (2.4760495e-5f - square * 2.6051615e-7f))));
  sine = 2 * half_sine * half_cosine;
  cosine = 1 - 2 * half_sine * half_sine;
}

void upsample(const float* x, int length, const float* f, float* padded, float* __restrict even,
              float* __restrict odd) {
  for (int i = 0; i < 5; i++) {
    padded[i] = x[0];
    padded[length + 5 + i] = x[length - 1];
  }
  std::memcpy(padded + 5, x, length * sizeof(float));
  const float* __restrict p = padded;
  for (int n = 0; n < length; n++) {
    even[n] = 2 * (f[1] * p[n + 7] + f[3] * p[n + 6] + f[5] * p[n + 5] + f[7] * p[n + 4] +
                   f[9] * p[n + 3] + f[11] * p[n + 2]);
    odd[n] = 2 * (f[0] * p[n + 8] + f[2] * p[n + 7] + f[4] * p[n + 6] + f[6] * p[n + 5] +
                  f[8] * p[n + 4] + f[10] * p[n + 3]);
  }
}

void activate_row(const float* x, float* __restrict y, int length, float alpha, float inverse_beta,
                  const float* f, std::vector<float>& work) {
  float* padded = work.data();
  float* even_row = padded + length + kPad;
  float* odd_row = even_row + length + kPad;
  float* __restrict even = even_row + 2;
  float* __restrict odd = odd_row + 3;
  upsample(x, length, f, padded, even, odd);
  // sin(a)^2 = (1 - cos(2a)) / 2
  const float gain = 0.5f * inverse_beta, twice = 2 * alpha;
  for (int n = 0; n < length; n++) {
    float sine, cosine;
    sine_cosine(twice * even[n], sine, cosine);
    even[n] += gain * (1 - cosine);
    sine_cosine(twice * odd[n], sine, cosine);
    odd[n] += gain * (1 - cosine);
  }
  const float first = even[0], last = odd[length - 1];
  even_row[0] = even_row[1] = first;
  odd_row[0] = odd_row[1] = odd_row[2] = first;
  for (int i = 0; i < 3; i++) even_row[length + 2 + i] = last;
  odd_row[length + 3] = odd_row[length + 4] = last;
  const float* __restrict e = even_row;
  const float* __restrict o = odd_row;
  for (int n = 0; n < length; n++)
    y[n] = f[1] * e[n] + f[3] * e[n + 1] + f[5] * e[n + 2] + f[7] * e[n + 3] + f[9] * e[n + 4] +
           f[11] * e[n + 5] + f[0] * o[n] + f[2] * o[n + 1] + f[4] * o[n + 2] + f[6] * o[n + 3] +
           f[8] * o[n + 4] + f[10] * o[n + 5];
}

struct RowGradient {
  float alpha, inverse_beta;
};

RowGradient activate_row_backward(const float* x, const float* grad_y, float* grad_x, int length, float alpha,
                                  float inverse_beta, const float* f, std::vector<float>& work) {
  const int stride = length + kPad;
  float* padded = work.data();
  float *even = padded + stride, *odd = even + stride, *incoming = odd + stride;
  float *grad_even = incoming + stride, *grad_odd = grad_even + stride;
  upsample(x, length, f, padded, even, odd);
  std::memset(incoming, 0, stride * sizeof(float));
  std::memcpy(incoming + 5, grad_y, length * sizeof(float));
  std::memset(grad_even, 0, stride * sizeof(float));
  std::memset(grad_odd, 0, stride * sizeof(float));
  // Through the downsampling: offsets 7 and 6 put sample 0 of both phases at index 9.
  {
    const float* __restrict g = incoming;
    float* __restrict ge = grad_even + 7;
    float* __restrict go = grad_odd + 6;
    for (int i = 0; i < length + 5; i++) {
      ge[i] = f[1] * g[i + 5] + f[3] * g[i + 4] + f[5] * g[i + 3] + f[7] * g[i + 2] + f[9] * g[i + 1] +
              f[11] * g[i];
      go[i] = f[0] * g[i + 5] + f[2] * g[i + 4] + f[4] * g[i + 3] + f[6] * g[i + 2] + f[8] * g[i + 1] +
              f[10] * g[i];
    }
    // What fell on replicated edges belongs to the edge samples.
    const float first = ge[0] + ge[1] + go[0] + go[1] + go[2];
    const float last = ge[length + 2] + ge[length + 3] + ge[length + 4] + go[length + 3] + go[length + 4];
    ge[0] = ge[1] = go[0] = go[1] = go[2] = 0;
    ge[length + 2] = ge[length + 3] = ge[length + 4] = go[length + 3] = go[length + 4] = 0;
    grad_even[9] += first;
    grad_odd[9 + length - 1] += last;
  }
  // Through the activation.
  float sum_alpha = 0, sum_beta = 0;
  {
    float* __restrict ge = grad_even + 9;
    float* __restrict go = grad_odd + 9;
    const float* __restrict e = even;
    const float* __restrict o = odd;
    const float twice = 2 * alpha;
    for (int n = 0; n < length; n++) {
      float sine_e, cosine_e, sine_o, cosine_o;
      sine_cosine(twice * e[n], sine_e, cosine_e);
      sine_cosine(twice * o[n], sine_o, cosine_o);
      sum_alpha += ge[n] * e[n] * sine_e + go[n] * o[n] * sine_o;
      sum_beta += ge[n] * (1 - cosine_e) + go[n] * (1 - cosine_o);
      ge[n] *= 1 + inverse_beta * alpha * sine_e;
      go[n] *= 1 + inverse_beta * alpha * sine_o;
    }
  }
  // Through the upsampling.
  const float* __restrict p = grad_even;
  const float* __restrict q = grad_odd;
  float* __restrict w = padded;
  for (int i = 0; i < length + 10; i++)
    w[i] = 2 * (f[1] * p[i + 2] + f[3] * p[i + 3] + f[5] * p[i + 4] + f[7] * p[i + 5] + f[9] * p[i + 6] +
                f[11] * p[i + 7] + f[0] * q[i + 1] + f[2] * q[i + 2] + f[4] * q[i + 3] + f[6] * q[i + 4] +
                f[8] * q[i + 5] + f[10] * q[i + 6]);
  std::memcpy(grad_x, w + 5, length * sizeof(float));
  for (int i = 0; i < 5; i++) {
    grad_x[0] += w[i];
    grad_x[length - 1] += w[length + 5 + i];
  }
  return {sum_alpha * inverse_beta, 0.5f * sum_beta};
}

}  // namespace

// x (B, C, T); alpha and inverse_beta (C,) are already exponentiated; filter (12,).
torch::Tensor forward(torch::Tensor x, torch::Tensor alpha, torch::Tensor inverse_beta, torch::Tensor filter) {
  const int batch = x.size(0), channels = x.size(1), length = x.size(2);
  auto y = torch::empty_like(x);
  const float *xs = x.data_ptr<float>(), *a = alpha.data_ptr<float>(), *b = inverse_beta.data_ptr<float>();
  const float* f = filter.data_ptr<float>();
  float* ys = y.data_ptr<float>();
  at::parallel_for(0, batch * channels, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> work(3 * (length + kPad));
    for (int64_t row = begin; row < end; row++)
      activate_row(xs + row * length, ys + row * length, length, a[row % channels], b[row % channels], f, work);
  });
  return y;
}

std::vector<torch::Tensor> backward(torch::Tensor x, torch::Tensor alpha, torch::Tensor inverse_beta,
                                    torch::Tensor filter, torch::Tensor grad_y) {
  const int batch = x.size(0), channels = x.size(1), length = x.size(2);
  auto grad_x = torch::empty_like(x);
  auto grad_alpha = torch::zeros({batch, channels}), grad_beta = torch::zeros({batch, channels});
  const float *xs = x.data_ptr<float>(), *a = alpha.data_ptr<float>(), *b = inverse_beta.data_ptr<float>();
  const float *f = filter.data_ptr<float>(), *gys = grad_y.data_ptr<float>();
  float *gxs = grad_x.data_ptr<float>(), *gas = grad_alpha.data_ptr<float>(), *gbs = grad_beta.data_ptr<float>();
  at::parallel_for(0, batch * channels, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> work(6 * (length + kPad));
    for (int64_t row = begin; row < end; row++) {
      const auto gradient = activate_row_backward(xs + row * length, gys + row * length, gxs + row * length,
                                                  length, a[row % channels], b[row % channels], f, work);
      gas[row] = gradient.alpha;
      gbs[row] = gradient.inverse_beta;
    }
  });
  return {grad_x, grad_alpha.sum(0), grad_beta.sum(0)};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("forward", &forward);
  module.def("backward", &backward);
}
