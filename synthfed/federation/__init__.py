"""How contributions travel: Flower apps, the round loop, a site's durable state, and the in-process run."""
