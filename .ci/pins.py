"""Prints what setup.cfg requires, with every lower bound as the version: `pins.py EXTRA...`."""

import configparser
import re
import sys

setup = configparser.ConfigParser()
setup.read("setup.cfg")
extras = setup["options.extras_require"]
for group in [setup["options"]["install_requires"], *(extras[name] for name in sys.argv[1:])]:
    for name, bound in re.findall(r"^([^>\s]+)>=([\w.]+)", group, re.MULTILINE):
        print(f"{name}=={bound}")
