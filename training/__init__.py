"""Training: what is learned (recipes, objectives), how it is carried out (execution), and the run itself.

`recipes.recipe(name)` gives a frozen Recipe; `launch.train(recipe, dataset, run_folder, Execution(...))` runs it: Ray
Train, `loop` in every worker, DeepSpeed's `engine` around the networks, an `observer` for what a run shows of itself.
Engines (Ray, DeepSpeed, MLflow) are imported by the functions that need them, never by this package.
"""
