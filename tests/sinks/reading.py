"""What the libraries themselves say that they were told: {metric: [(step, value), ...]} in the order of their files."""

import json


def of_tensorboard(own):
    """(curves of numbers, of texts, of images)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(own), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    curves = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    text = lambda e: e.tensor_proto.string_val[0].decode()
    texts = {tag: [(e.step, text(e)) for e in events.Tensors(tag)] for tag in tags["tensors"]}
    images = {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in tags["images"]}
    return curves, texts, images


def of_wandb(own):
    """(run ids, {metric: [(step, value)]}, alerts) of all files of a run."""
    from wandb.proto.wandb_internal_pb2 import Record

    from urlvr_jax.sinks.wandb import _records

    ids, curves, alerts = set(), {}, []
    for file in sorted(own.glob("offline-run-*/*.wandb")):
        for data in _records(file.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "alert":
                alerts.append(record.alert.text)
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                curves.setdefault(key, []).append((record.history.step.num, json.loads(item.value_json)))
    return ids, curves, alerts


def of_trackio(own):
    """(curves, alerts), from where Trackio keeps its runs."""
    from trackio.sqlite_storage import SQLiteStorage

    id = json.loads((own / "state.json").read_text())["id"]
    name = f"{own.parents[1].name}-{id}"
    curves = {}
    for line in SQLiteStorage.get_logs("urlvr_jax", name):
        for key, value in line.items():
            if key not in ("step", "timestamp"):
                curves.setdefault(key, []).append((line["step"], value))
    return curves, [alert["text"] for alert in SQLiteStorage.get_alerts("urlvr_jax", name)]
