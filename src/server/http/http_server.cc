#include "server/http/http_server.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "base/read_file.h"
#include "base/thread_name.h"
#include "server/exchange/api_error.h"
#include "server/http/connection.h"
#include "server/http/http_context.h"
#include "server/http/response_head.h"

namespace kl {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Stream = asio::generic::stream_protocol::socket;

/// What Done is told of a read or a write.
auto bytes_or_none(Socket::Done done) {
  return [done = std::move(done)](const error_code& error, std::size_t bytes) { done(error ? 0 : bytes); };
}

class PlainSocket final : public Socket {
 public:
  explicit PlainSocket(Stream stream) : stream_(std::move(stream)) {}
  void handshake(Done done) override { done(1); }
  void read_some(char* to, std::size_t most, Done done) override {
    stream_.async_read_some(asio::buffer(to, most), bytes_or_none(std::move(done)));
  }
  void write_some(const char* from, std::size_t bytes, Done done) override {
    stream_.async_write_some(asio::buffer(from, bytes), bytes_or_none(std::move(done)));
  }
  void shutdown_write() override {
    error_code ignored;
    stream_.shutdown(Stream::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    stream_.close(ignored);
  }

 private:
  Stream stream_;
};

/// TLS.  Ends without close_notify: every reply says how long it is, so that one cut short is noticed anyway.
class TlsSocket final : public Socket {
 public:
  TlsSocket(Stream stream, asio::ssl::context& tls) : stream_(std::move(stream), tls) {}
  void handshake(Done done) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [done = std::move(done)](const error_code& error) { done(error ? 0 : 1); });
  }
  void read_some(char* to, std::size_t most, Done done) override {
    stream_.async_read_some(asio::buffer(to, most), bytes_or_none(std::move(done)));
  }
  void write_some(const char* from, std::size_t bytes, Done done) override {
    stream_.async_write_some(asio::buffer(from, bytes), bytes_or_none(std::move(done)));
  }
  void shutdown_write() override {
    error_code ignored;
    stream_.next_layer().shutdown(Stream::shutdown_send, ignored);
  }
  void close() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }

 private:
  asio::ssl::stream<Stream> stream_;
};

bool is_socket_path(const std::string& host) { return host.find('/') != host.npos || host.ends_with(".sock"); }

std::optional<asio::ssl::context> make_tls(const HttpOptions& options) {
  if (options.key_file.empty() && options.cert_file.empty()) return {};
  if (options.key_file.empty() || options.cert_file.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "--ssl-key-file, --ssl-cert-file: expected both or none, got one");
  }
  constexpr std::size_t kMostBytes = 1 << 20;
  read_file(options.key_file, kMostBytes);  // says better than OpenSSL what is wrong with a path
  read_file(options.cert_file, kMostBytes);
  asio::ssl::context tls(asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(tls.native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  const auto check = [](const error_code& error, const std::filesystem::path& path, const char* what) {
    if (error) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: expected {} in PEM, got something else ({})", path.string(), what, error.message()));
    }
  };
  error_code error;
  tls.use_certificate_chain_file(options.cert_file.string(), error);
  check(error, options.cert_file, "a certificate");
  tls.use_private_key_file(options.key_file.string(), asio::ssl::context::pem, error);
  check(error, options.key_file, "the certificate's private key");
  return tls;
}

/// Sockets that listen at the same port on every address the host's name stands for.
class Listeners {
 public:
  Listeners(asio::io_context& io, const HttpOptions& options) {
    if (is_socket_path(options.host)) {
      bind_path(io, options.host);
    } else {
      bind_addresses(io, options);
    }
  }
  ~Listeners() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Listeners(const Listeners&) = delete;

  std::vector<asio::basic_socket_acceptor<asio::generic::stream_protocol>> acceptors;
  std::uint16_t port = 0;
  bool is_loopback = true;
  bool is_path() const { return !path_.empty(); }

 private:
  void bind_addresses(asio::io_context& io, const HttpOptions& options) {
    using asio::ip::tcp;
    port = options.port;
    error_code error;
    const auto found = tcp::resolver(io).resolve(options.host, std::to_string(port), tcp::resolver::passive, error);
    std::string why = error ? error.message() : "";
    for (const auto& entry : found) {
      const tcp::endpoint at(entry.endpoint().address(), port);
      tcp::acceptor acceptor(io);
      if (!acceptor.open(at.protocol(), error) && !acceptor.set_option(asio::socket_base::reuse_address(true), error)) {
        if (at.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
        if (!acceptor.bind(at, error)) acceptor.listen(asio::socket_base::max_listen_connections, error);
      }
      if (error) {
        why = error.message();
        continue;
      }
      port = acceptor.local_endpoint().port();
      is_loopback = is_loopback && at.address().is_loopback();
      acceptors.emplace_back(io, asio::generic::stream_protocol(at.protocol()), acceptor.release());
    }
    if (acceptors.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--host, --port: expected an address that is free, got {}:{} ({})", options.host,
                              options.port, why));
    }
  }

  void bind_path(asio::io_context& io, const std::string& path) {
    using asio::local::stream_protocol;
    const auto fail = [&](const std::string& why) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--host: expected the path of a socket to make, got {} ({})", path, why));
    };
    if (path.size() >= sizeof(sockaddr_un::sun_path)) fail("too long");
    const stream_protocol::endpoint at(path);
    error_code error;
    struct stat there {};
    if (::lstat(path.c_str(), &there) == 0) {  // what a server left that was killed may go, anything else may not
      if (!S_ISSOCK(there.st_mode)) fail("something else is there");
      stream_protocol::socket probe(io);
      if (!probe.connect(at, error)) fail("a server listens there");
      ::unlink(path.c_str());
    }
    stream_protocol::acceptor acceptor(io);
    const mode_t before = ::umask(S_IRWXO);  // owner and group
    const bool bound = !acceptor.open(at.protocol(), error) && !acceptor.bind(at, error);
    ::umask(before);
    if (!bound || acceptor.listen(asio::socket_base::max_listen_connections, error)) fail(error.message());
    path_ = path;
    acceptors.emplace_back(io, asio::generic::stream_protocol(at.protocol()), acceptor.release());
  }

  std::string path_;
};

/// Where the other end is; empty for a socket with a path.
std::string address_of(const Stream& stream) {
  error_code error;
  const auto remote = stream.remote_endpoint(error);
  const int family = remote.protocol().family();
  if (error || (family != AF_INET && family != AF_INET6)) return "";
  asio::ip::tcp::endpoint at;
  std::memcpy(at.data(), remote.data(), remote.size());
  return at.address().to_string();
}

AccessRules rules_with_hosts(const HttpOptions& options, const Listeners& listeners) {
  AccessRules rules = options.access;
  if (rules.hosts.empty() && listeners.is_loopback && !listeners.is_path()) {
    rules.hosts = {"localhost", "127.0.0.1", "[::1]", options.host};
  }
  return rules;
}

/// Too many of them: told at once, as far as that goes without waiting.
void turn_away(Stream& stream, int status, const char* message) {
  const std::string body = error_body({status, message, "", "too_many_connections"});
  const std::string reply = response_head({.status = status,
                                           .content_type = "application/json",
                                           .content_length = body.size(),
                                           .close = true,
                                           .fields = {{"Retry-After", "1"}}}) +
                            body;
  error_code ignored;
  stream.non_blocking(true, ignored);
  stream.write_some(asio::buffer(reply), ignored);
  stream.shutdown(Stream::shutdown_send, ignored);
}

}  // namespace

struct HttpServer::Impl {
  Impl(const HttpOptions& options, std::vector<Route> routes, Metrics& metrics, RequestLog::Sink log)
      : host(options.host), tls(make_tls(options)), listeners(io, options) {
    context.reset(new HttpContext{options.limits, Router(std::move(routes)),
                                  Access(rules_with_hosts(options, listeners)),
                                  RequestLog(options.log_format, std::move(log)), metrics,
                                  [this](std::function<void()> work) { asio::post(io, std::move(work)); }});
  }

  void admit(Stream stream) {
    error_code ignored;
    std::string client = address_of(stream);
    if (!client.empty()) {
      stream.set_option(asio::ip::tcp::no_delay(true), ignored);
      stream.set_option(asio::socket_base::keep_alive(true), ignored);
      const auto same = context->per_address.find(client);
      const std::size_t most = context->limits.connections_per_address;
      if (most > 0 && same != context->per_address.end() && same->second >= most) {
        return turn_away(stream, 429, "connections: expected fewer from one address, got too many");
      }
    }
    if (context->connections.size() >= context->limits.connections) {
      if (context->waiting.empty()) return turn_away(stream, 503, "connections: expected fewer, got too many");
      context->waiting.front()->drop();
    }
    std::unique_ptr<Socket> socket;
    if (tls) {
      socket = std::make_unique<TlsSocket>(std::move(stream), *tls);
    } else {
      socket = std::make_unique<PlainSocket>(std::move(stream));
    }
    Connection::start(io, std::move(socket), std::move(client), *context);
  }

  /// Takes connections as long as `acceptor` listens, whatever goes wrong with one of them.
  asio::awaitable<void> accept(asio::basic_socket_acceptor<asio::generic::stream_protocol>& acceptor) {
    constexpr auto kPause = std::chrono::milliseconds(50);
    asio::steady_timer pause(io);
    while (acceptor.is_open()) {
      error_code error;
      Stream stream(io);
      co_await acceptor.async_accept(stream, asio::redirect_error(asio::use_awaitable, error));
      std::string problem = error ? error.message() : "";
      if (!error) {
        try {
          admit(std::move(stream));
        } catch (const std::exception& exception) {
          problem = exception.what();
        }
      }
      if (problem.empty() || !acceptor.is_open()) continue;
      // Out of descriptors or memory, most likely: some will come back.
      context->log.problem(fmt::format("connection: expected to take one more, got {}", problem));
      pause.expires_after(kPause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }

  const std::string host;
  std::unique_ptr<HttpContext> context;  // connections use it until `io` destroys them
  asio::io_context io{1};
  std::optional<asio::ssl::context> tls;
  Listeners listeners;
  std::thread thread;
};

HttpServer::HttpServer(const HttpOptions& options, std::vector<Route> routes, Metrics& metrics, RequestLog::Sink log)
    : impl_(std::make_unique<Impl>(options, std::move(routes), metrics, std::move(log))) {}

HttpServer::~HttpServer() { stop(); }

std::string HttpServer::url() const {
  const Impl& impl = *impl_;
  if (impl.listeners.is_path()) return "unix:" + impl.host;
  const bool is_v6 = impl.host.find(':') != impl.host.npos;
  return fmt::format("{}://{}{}{}:{}", impl.tls ? "https" : "http", is_v6 ? "[" : "", impl.host, is_v6 ? "]" : "",
                     impl.listeners.port);
}

bool HttpServer::is_reachable_by_others() const { return !impl_->listeners.is_loopback; }

void HttpServer::start() {
  for (auto& acceptor : impl_->listeners.acceptors) {
    asio::co_spawn(impl_->io, impl_->accept(acceptor), asio::detached);
  }
  impl_->thread = std::thread([this] {
    name_this_thread("kl-http");
    impl_->io.run();
  });
}

void HttpServer::drain() {
  asio::post(impl_->io, [this] {
    impl_->context->is_draining = true;
    for (Connection* connection : impl_->context->connections) connection->notify();
  });
}

std::size_t HttpServer::answering() const { return impl_->context->exchanges.load(); }

void HttpServer::cut_short() {
  asio::post(impl_->io, [this] {
    for (Connection* connection : impl_->context->connections) connection->cut_short();
  });
}

void HttpServer::stop() {
  impl_->io.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace kl
