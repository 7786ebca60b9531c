"""The AI Economist (Zheng et al. 2022): workers earn, a planner learns the taxes."""
