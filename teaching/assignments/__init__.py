"""One module an assignment: ``ABOUT``, and ``draw(rng)``, the parts of one student's sheet."""
