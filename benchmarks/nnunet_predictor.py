"""nnU-Net v2's own planner and predictor on one volume; run by ``speed.py`` in its environment.

    NNUNET_PYTHON benchmarks/nnunet_predictor.py VOLUME.npz WORK REPEATS

The planner sees two copies of the volume and its mask, as a dataset of two modalities, and plans
its 3D network for this voxel size; the predictor runs it (untrained: the time is the same) with
steps of half a patch, Gaussian weights and no mirroring. Prints one line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import processes


def main() -> None:
    volume, work, repeats = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)

    import nibabel as nib
    import numpy as np
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    data = np.load(volume)
    images, truth, size = data["images"], data["truth"], data["voxel_size"]
    if not truth.any():  # of a real scan; the planner wants some voxels to look at
        truth = data["brain"] & (np.random.default_rng(0).random(truth.shape) < 0.001)
    dataset = work / "raw" / "Dataset001_PVS"
    about = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "PVS": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    for folder in ("imagesTr", "labelsTr"):
        (dataset / folder).mkdir(parents=True, exist_ok=True)
    (dataset / "dataset.json").write_text(json.dumps(about))
    affine = np.diag([*size, 1.0])
    for case in ("a", "b"):
        for channel, image in enumerate(images):
            path = dataset / "imagesTr" / f"{case}_{channel:04d}.nii.gz"
            nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
        label = nib.Nifti1Image(truth.astype(np.uint8), affine)
        nib.save(label, dataset / "labelsTr" / f"{case}.nii.gz")
    extract_fingerprints([1], num_processes=1)
    plan_experiments([1])
    plans_file = work / "preprocessed" / "Dataset001_PVS" / "nnUNetPlans.json"
    manager = PlansManager(json.loads(plans_file.read_text()))
    plan = manager.get_configuration("3d_fullres")
    network = get_network_from_plans(
        plan.network_arch_class_name,
        plan.network_arch_init_kwargs,
        plan.network_arch_init_kwargs_req_import,
        2,
        2,
        allow_init=True,
        deep_supervision=False,
    )
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(network, manager, plan, None, about, "nnUNetTrainer", None)
    predictor.network.eval()
    tensor = torch.from_numpy(images.astype(np.float32))
    processes.forget_peak()  # of the planning
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        with torch.inference_mode():
            predictor.predict_sliding_window_return_logits(tensor)
        seconds.append(time.perf_counter() - begun)
    note = "patch " + "x".join(map(str, plan.patch_size))
    print(json.dumps({"seconds": seconds, "peak_mb": processes.peak_mb(), "note": note}))


if __name__ == "__main__":
    main()
