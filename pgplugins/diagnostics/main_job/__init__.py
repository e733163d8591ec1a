"""The main job: three problems on which the built-in estimators are shown at work."""
