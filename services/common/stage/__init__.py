"""What every worker shares: the stage protocol's server side, without any model.

`spec` says what a stage is, `session` holds one utterance, `loop` moves sessions through the engine,
`servicer` translates protobuf. A worker adds an engine.
"""
