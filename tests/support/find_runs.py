"""What the tests of both launchers of FIND ask for."""

# Of ``summary.json``, for each method; the names are the specification's.
SUMMARY = {
    "reward_before",
    "reward_after",
    "success_before",
    "success_after",
    "frechet_after",
    "diversity_after",
    "drift",
    "images",
    "forward_equivalents",
    "seconds",
    "peak_bytes",
}
