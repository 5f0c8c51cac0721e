// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where a model's layers lie: on this machine's CPU, on its other devices, or on RPC servers.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_DEVICES_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_DEVICES_HPP

#include <ggml-backend.h>
#include <ggml-rpc.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace morphkv::llama_cpp {

/// The RPC backend of the installed llama.cpp.
/// \throws std::runtime_error if it was built without.
[[nodiscard]] inline ggml_backend_reg_t rpc_backend() {
  ggml_backend_reg_t found = ggml_backend_reg_by_name("RPC");
  if (found == nullptr) {
    throw std::runtime_error(
        "this llama.cpp has no RPC backend: build it with -DGGML_RPC=ON, as ./run build llama "
        "does");
  }
  return found;
}

namespace detail {

/// llama.cpp ends the program where a server does not answer, so that is found out before.
inline void require_listening(const std::string& endpoint) {
  const std::size_t colon = endpoint.rfind(':');
  const bool valid = colon != std::string::npos && colon > 0 && colon + 1 < endpoint.size();
  if (!valid) {
    throw std::invalid_argument("--rpc = " + endpoint + ": must be host:port,host:port,...");
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const std::string host = endpoint.substr(0, colon);
  const std::string port = endpoint.substr(colon + 1);
  bool listens = false;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &list) == 0) {
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, &freeaddrinfo);
    for (const addrinfo* at = list; at != nullptr && !listens; at = at->ai_next) {
      const int handle = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
      if (handle < 0) continue;
      listens = connect(handle, at->ai_addr, at->ai_addrlen) == 0;
      close(handle);
    }
  }
  if (!listens) {
    throw std::invalid_argument("--rpc = " + endpoint +
                                ": there is no server; start one there with rpc_server");
  }
}

}  // namespace detail

/// The devices of RPC servers. \param endpoints "host:port" each
/// \throws std::invalid_argument if one is not there.
[[nodiscard]] inline std::vector<ggml_backend_dev_t> rpc_devices(
    const std::vector<std::string>& endpoints) {
  std::vector<ggml_backend_dev_t> devices;
  if (endpoints.empty()) return devices;
  for (const std::string& endpoint : endpoints) detail::require_listening(endpoint);
  const auto add_server = reinterpret_cast<decltype(&ggml_backend_rpc_add_server)>(
      ggml_backend_reg_get_proc_address(rpc_backend(), "ggml_backend_rpc_add_server"));
  for (const std::string& endpoint : endpoints) {
    ggml_backend_reg_t server = add_server == nullptr ? nullptr : add_server(endpoint.c_str());
    if (server == nullptr) {
      throw std::invalid_argument("--rpc = " + endpoint + ": the server has no device");
    }
    for (std::size_t i = 0; i < ggml_backend_reg_dev_count(server); ++i) {
      devices.push_back(ggml_backend_reg_dev_get(server, i));
    }
  }
  return devices;
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_DEVICES_HPP
