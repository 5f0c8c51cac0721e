# SPDX-License-Identifier: Apache-2.0
"""Eigen as this system has it, in place of the public package: the test needs no network."""
import os

from conan import ConanFile
from conan.tools.files import copy


class EigenOfTheSystem(ConanFile):
    name = "eigen"
    version = "3.4.0"
    package_type = "header-library"

    def package(self):
        copy(self, "Eigen/*", os.environ["EIGEN_INCLUDE_DIR"],
             os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "Eigen3")
        self.cpp_info.set_property("cmake_target_name", "Eigen3::Eigen")
