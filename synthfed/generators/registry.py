"""From a pipeline's `[generator]` section to the generator itself."""

from synthfed.generators.base import Generator
from synthfed.pipeline import CtganSettings, TvaeSettings


def make_generator(settings: TvaeSettings | CtganSettings) -> Generator:
    """Build the generator named by `settings.kind`; loads torch and Opacus."""
    if isinstance(settings, TvaeSettings):
        from synthfed.generators.tvae import Tvae

        return Tvae(settings)
    from synthfed.generators.ctgan import Ctgan

    return Ctgan(settings)
