"""From a scan to a PVS mask: patches, predictor, components, classical baselines."""
