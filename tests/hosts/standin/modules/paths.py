"""Folders."""

import os
import sys

from modules.shared_cmd_options import cmd_opts

script_path = os.path.dirname(os.path.abspath(sys.argv[0]))
data_path = os.path.abspath(cmd_opts.data_dir or script_path)
models_path = os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
