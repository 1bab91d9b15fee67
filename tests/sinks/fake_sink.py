"""A sink that writes what it is told into its folder, and fails as the file `fault` of the run's folder says."""

import json
import os
import time


class Sink:
    def open(self, place):
        self.place = place
        fault = place.folder / "fault"
        self.fault = json.loads(fault.read_text()) if fault.is_file() else [None, None]
        self._tell("open", place.id, place.config)

    def kept(self):
        return None

    def step(self, step, numbers, texts, table):
        self._tell("step", step, numbers, texts, table)

    def warning(self, step, text):
        self._tell("warning", step, text)

    def figure(self, step, name, file):
        self._tell("figure", step, name, file.name)

    def close(self, status):
        self._tell("close", status)

    def _tell(self, *what):
        if self.fault[0] == what[0] and self.fault[1] in (None, what[1]):
            {"raise": self._raise, "hang": time.sleep, "exit": os._exit, "full": self._full}[self.fault[2]](
                600
            )
        with open(self.place.own / "told.jsonl", "a") as file:
            file.write(json.dumps(what) + "\n")

    def _raise(self, _):
        raise ValueError("no such key\nsecond line")

    def _full(self, _):
        with open("/dev/full", "w") as file:
            file.write("x")
