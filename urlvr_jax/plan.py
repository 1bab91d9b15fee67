from urlvr_jax.models import hf
def model_config(c):
    return hf.model_config(hf.known(c.model.path.removeprefix("known:")), param_dtype=c.model.param_dtype, compute_dtype=c.model.compute_dtype, remat=c.model.remat)
