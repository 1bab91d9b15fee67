"""The policy: a decoder-only transformer in Flax NNX, and Hugging Face folders in and out.

In: token ids and the segments of keys they see; a folder's config.json and safetensors. Out: hidden states
`[B, C, D]`, keys and values; parameters as a plain dictionary of arrays.

    transformer.py  the modules, prompt segments, plain parameter trees
    attention.py    plain products, in blocks; chooses between them and the kernels
    flash.py        kernels for a TPU             flash_gpu.py, flash_parts.py  for a GPU; what both share
    rope.py         rotary positions              products.py what a CPU multiplies faster another way round
    folders.py      Hugging Face folders          names.py    what they call our parameters
    known/          configurations of published models
"""
