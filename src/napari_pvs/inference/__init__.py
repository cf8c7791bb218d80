"""From a scan to a mask of PVS: patches, predictor, components, classical baselines."""
