"""From a pipeline's `[generator]` section to the generator itself."""

from synthfed.generators.base import Generator
from synthfed.pipeline import CtganSettings, MarginalSettings, TvaeSettings


def make_generator(settings: TvaeSettings | CtganSettings | MarginalSettings) -> Generator:
    """Build the generator named by `settings.kind`; the networks load torch and Opacus."""
    if isinstance(settings, MarginalSettings):
        from synthfed.generators.tree import Tree

        return Tree()
    if isinstance(settings, TvaeSettings):
        from synthfed.generators.tvae import Tvae

        return Tvae(settings)
    from synthfed.generators.ctgan import Ctgan

    return Ctgan(settings)
