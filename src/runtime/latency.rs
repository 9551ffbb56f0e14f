//! Recent latency of each model, for the policy `fastest` and for the objective.
