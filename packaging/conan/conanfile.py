# SPDX-License-Identifier: Apache-2.0
"""morphkv for Conan 2:  conan create packaging/conan"""
import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load
from conan.tools.layout import basic_layout


class MorphkvConan(ConanFile):
    name = "morphkv"
    description = "Constant-size KV caches for LLM inference: eviction policies and the cache around them"
    license = "Apache-2.0"
    topics = ("llm", "kv-cache", "inference", "attention", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    @property
    def _root(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._root, "include", "morphkv", "version.hpp"))
        numbers = re.findall(r"^#define MORPHKV_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", header, re.M)
        self.version = ".".join(numbers)

    def export_sources(self):
        for pattern in ("LICENSE", "include/*"):
            copy(self, pattern, self._root, self.export_sources_folder)

    def layout(self):
        basic_layout(self, src_folder=".")

    def requirements(self):
        # Its types are in the interface, so whoever uses the package gets the headers too.
        self.requires("eigen/[>=3.4.0 <6]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*", os.path.join(self.source_folder, "include"),
             os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "morphkv")
        self.cpp_info.set_property("cmake_target_name", "morphkv::morphkv")
        self.cpp_info.set_property("pkg_config_name", "morphkv")
