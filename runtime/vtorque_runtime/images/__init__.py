"""Guest images: where they are kept (`store`) and how they are made (`build`, `recipes/`)."""
