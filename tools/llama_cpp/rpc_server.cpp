// SPDX-License-Identifier: Apache-2.0
// Serves this machine's devices to llama_cpp on another one:
//
//   rpc_server --host 127.0.0.1 --port 50052
//   llama_cpp --model model.gguf --rpc 127.0.0.1:50052

#include <ggml-backend.h>
#include <ggml-rpc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "llama_cpp/devices.hpp"
#include "support/program.hpp"

namespace {

struct Arguments {
  std::string host = "127.0.0.1";
  std::size_t port = 50052;
  std::size_t threads = std::max(1U, std::thread::hardware_concurrency());
};

/// Other devices than the CPU; the CPU where there is none.
std::vector<ggml_backend_dev_t> devices_to_serve() {
  std::vector<ggml_backend_dev_t> devices;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    const auto type = ggml_backend_dev_type(device);
    if (type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) {
      devices.push_back(device);
    }
  }
  if (devices.empty()) {
    devices.push_back(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
  }
  return devices;
}

void serve(const Arguments& arguments) {
  ggml_backend_load_all();
  ggml_backend_reg_t backend = morphkv::llama_cpp::rpc_backend();
  const auto start = reinterpret_cast<decltype(&ggml_backend_rpc_start_server)>(
      ggml_backend_reg_get_proc_address(backend, "ggml_backend_rpc_start_server"));
  if (start == nullptr) throw std::runtime_error("this llama.cpp cannot serve RPC");
  std::vector<ggml_backend_dev_t> devices = devices_to_serve();
  const std::string endpoint = arguments.host + ":" + std::to_string(arguments.port);
  if (arguments.host != "127.0.0.1" && arguments.host != "localhost") {
    std::fprintf(stderr, "rpc_server: whoever reaches %s can use it: it has no password\n",
                 endpoint.c_str());
  }
  start(endpoint.c_str(), nullptr, arguments.threads, devices.size(), devices.data());
  throw std::runtime_error("--host, --port: " + endpoint + " cannot be served");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Serves this machine's devices to llama_cpp --rpc, until it is ended.");
  Arguments arguments;
  app.add_option("--host", arguments.host, "the address to listen on")->capture_default_str();
  app.add_option("--port", arguments.port, "the port to listen on")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "threads that compute")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  return morphkv::support::run_program("rpc_server", app, argc, argv, [&] { serve(arguments); });
}
