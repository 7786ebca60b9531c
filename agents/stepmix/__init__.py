"""StepMix and EpsMix: exploration in tabular MDPs that never falls below a known return."""
