"""Training: recipes, losses, the DeepSpeed engine, the loop, checkpoints, Ray Train and MLflow.

`recipes.recipe(name)` gives a frozen Recipe; `launch.train(recipe, dataset, run_folder)` runs it.
Engines (Ray, DeepSpeed, MLflow) are imported by the functions that need them, never by this package.
"""
