// SPDX-License-Identifier: Apache-2.0
//
// mixed_main [wide]: runs the unit for the baseline, or the one for the widest vectors.
int narrow();
int wide();

int main(int argc, char**) { return argc == 1 ? narrow() : wide(); }
