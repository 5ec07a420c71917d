"""Shows what cloud-init makes of user data, as JSON: parts, merged cloud-config, scripts in their order, boothooks, warnings.

usage: cloud-init.py FILE... ; the modules of cloud-init and their dependencies are on PYTHONPATH. cloud-init's own code reads
the data, calls the handlers and writes runcmd's script, all below a directory that is removed in the end.
"""
import base64
import glob
import inspect
import json
import logging
import os
import sys
import tempfile

from cloudinit import sources, stages, util
from cloudinit.config import cc_runcmd, cc_write_files
from cloudinit.settings import PER_INSTANCE


class Records(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


class Given(sources.DataSource):
    """A data source that has only the user data."""

    dsname = "Given"

    def get_instance_id(self):
        return "i-1"


def read_dir(path):
    found = {}
    for name in sorted(glob.glob(os.path.join(path, "*"))):
        with open(name, "rb") as f:
            found[os.path.basename(name)] = base64.b64encode(f.read()).decode()
    return found


def prepare(work):
    instance = os.path.join(work, "cloud", "instances", "i-1")
    for d in ("scripts", "boothooks", "handlers"):
        os.makedirs(os.path.join(instance, d))
    os.symlink(instance, os.path.join(work, "cloud", "instance"))
    os.makedirs(os.path.join(work, "run"))
    with open(os.path.join(work, "run", "instance-data-sensitive.json"), "w") as f:
        json.dump({"ds": {"meta_data": {"hostname": "node-1", "local_hostname": "node-1", "instance_id": "i-1"}}, "v1": {"cloud_name": "aws", "hostname": "node-1"}}, f)
    init = stages.Init()
    init._cfg = {
        "system_info": {
            "distro": "debian",
            "paths": {"cloud_dir": os.path.join(work, "cloud"), "run_dir": os.path.join(work, "run")},
        }
    }
    init.datasource = Given(init.cfg, init.distro, init.paths)
    init._paths = None
    return init


def call(handle, name, cfg, cloud):
    args = [name, cfg, cloud, logging.getLogger("cloudinit"), []]
    if len(inspect.signature(handle).parameters) == 4:
        del args[3]
    handle(*args)


def written(cfg):
    files = []
    for f in cfg.get("write_files") or []:
        content = f.get("content", "")
        for step in cc_write_files.canonicalize_extraction(f.get("encoding"), *extra(cc_write_files.canonicalize_extraction)):
            content = cc_write_files.extract_contents(content, [step])
        if isinstance(content, str):
            content = content.encode()
        files.append([f.get("path"), str(f.get("permissions")), base64.b64encode(content).decode()])
    return files


def extra(function):
    return [logging.getLogger()] if len(inspect.signature(function).parameters) == 2 else []


def show(data):
    records = Records()
    logging.getLogger().addHandler(records)
    with tempfile.TemporaryDirectory() as work:
        try:
            init = prepare(work)
            init.datasource.userdata_raw = data
            message = init.datasource.get_userdata(True)
            parts = []
            for part in message.walk():
                if part.get_content_maintype() != "multipart":
                    payload = util.fully_decoded_payload(part)
                    if isinstance(payload, str):
                        payload = payload.encode("utf-8", "surrogateescape")
                    parts.append([part.get_content_type(), part.get_filename(), base64.b64encode(payload).decode()])
            init._consume_userdata(PER_INSTANCE)
            instance = os.path.join(work, "cloud", "instance")
            cfg = util.read_conf(os.path.join(instance, "cloud-config.txt")) or {}
            call(cc_runcmd.handle, "runcmd", cfg, init.cloudify())
            return {
                "parts": parts,
                "config": cfg,
                "files": written(cfg),
                "scripts": read_dir(os.path.join(instance, "scripts")),
                "boothooks": read_dir(os.path.join(instance, "boothooks")),
                "warnings": [l.replace(work, "") for l in records.lines],
            }
        except Exception as e:
            return {"error": repr(e), "warnings": [l.replace(work, "") for l in records.lines]}
        finally:
            logging.getLogger().removeHandler(records)


def main():
    result = {}
    for name in sys.argv[1:]:
        with open(name, "rb") as f:
            result[name] = show(f.read())
    json.dump(result, sys.stdout, indent=1, default=repr)


main()
