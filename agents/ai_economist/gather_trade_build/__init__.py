"""The AI Economist in gather-trade-build: recurrent policies, two phases, all tax models."""
