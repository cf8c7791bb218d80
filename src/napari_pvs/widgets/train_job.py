"""Jobs of the Train dock: those of `worker`, answered by `train_service`."""

import json
import sys

from napari_pvs.widgets.service import REQUEST
from napari_pvs.widgets.worker import Job


class TrainJob(Job):
    """One request to the Train dock's helper process."""

    def _start_process(self, error: Exception | None) -> None:
        if error is None and not self._over:
            try:
                request = self._folder.path / REQUEST
                request.write_text(json.dumps(self._request), encoding="utf-8")
            except OSError as caught:
                error = caught
            else:
                module = "napari_pvs.widgets.train_service"
                self._process.start(sys.executable, ["-P", "-m", module, str(self._folder.path)])
                return
        super()._start_process(error)
