"""Where else a run's metrics go: TensorBoard, Weights & Biases, Trackio.

A run writes its facts into its folder. Each sink is a process of its own that follows the folder and tells a library
what stands there, so that nothing the library does can touch the training.

    table.py        which sinks there are        processes.py   the run's side: starts, watches and ends them
    follow.py       a sink's process             folder.py      what a run's folder says, as it grows
    tensorboard.py, wandb.py, trackio.py         one library each
"""
