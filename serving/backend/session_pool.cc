#include "session_pool.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <vector>

#include "cpu_graph.h"
#include "low_priority.h"
#include "status.h"

namespace recserve {

namespace {

namespace fs = std::filesystem;

// Sessions of one key.
struct Shelf {
  struct Entry {
    std::weak_ptr<Session> session;
    int64_t users = 0;
  };
  std::mutex mutex;  // held while one loads, so that the next waits and shares
  std::vector<std::shared_ptr<Entry>> entries;
};

std::mutex shelves_mutex;

std::map<std::string, std::shared_ptr<Shelf>>& Shelves() {
  // Never destroyed: models may be unloaded while the process ends.
  static auto* shelves = new std::map<std::string, std::shared_ptr<Shelf>>();
  return *shelves;
}

std::string FileIdentity(const fs::path& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return "missing";
  return std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) + ":" + std::to_string(info.st_size) + ":" +
         std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

std::string SavedModelIdentity(const fs::path& folder) {
  std::vector<std::string> files;
  for (const char* part : {"variables", "assets", "assets.extra"}) {
    std::error_code error;  // a SavedModel need not have them
    for (fs::recursive_directory_iterator item(folder / part, error), end; !error && item != end;
         item.increment(error)) {
      if (item->is_directory(error)) continue;
      files.push_back(fs::relative(item->path(), folder).string() + "=" + FileIdentity(item->path()));
    }
  }
  std::sort(files.begin(), files.end());
  std::string text = "saved_model.pb=" + FileIdentity(folder / "saved_model.pb");
  for (const std::string& file : files) text += "|" + file;
  return text;
}

std::shared_ptr<Shelf> ShelfOf(const std::string& key) {
  const std::lock_guard<std::mutex> lock(shelves_mutex);
  auto& shelves = Shelves();
  for (auto item = shelves.begin(); item != shelves.end();) {  // every session's holders hold its shelf too
    item = item->second.use_count() == 1 ? shelves.erase(item) : std::next(item);
  }
  auto& shelf = shelves[key];
  if (shelf == nullptr) shelf = std::make_shared<Shelf>();
  return shelf;
}

std::shared_ptr<Session> Load(const std::string& path, const SessionOptions& options) {
  if (const auto staged = StageCpuGraph(path, options)) {
    try {
      return std::make_shared<Session>(staged->path(), options, true);
    } catch (const BackendError& error) {
      Log(TRITONSERVER_LOG_WARN, path + ": its graph of CPU kernels does not load: " + error.what());
    }
  }
  return std::make_shared<Session>(path, options, false);
}

// A holder's own pointer: when it goes, the entry has a place again, and the session goes with its last holder.
std::shared_ptr<Session> Lend(
    const std::shared_ptr<Shelf>& shelf, const std::shared_ptr<Shelf::Entry>& entry,
    std::shared_ptr<Session> session) {
  ++entry->users;
  Session* raw = session.get();
  return std::shared_ptr<Session>(raw, [shelf, entry, held = std::move(session)](Session*) mutable {
    {
      const std::lock_guard<std::mutex> lock(shelf->mutex);
      if (--entry->users == 0) {
        shelf->entries.erase(std::find(shelf->entries.begin(), shelf->entries.end(), entry));
      }
    }
    held.reset();  // not under the lock: closing a session takes time
  });
}

}  // namespace

SharedSession AcquireSession(const std::string& path, const SessionOptions& options, int64_t max_users) {
  const std::string key =
      options.Text() + "|" + std::to_string(max_users) + "|" + SavedModelIdentity(fs::path(path));
  const std::shared_ptr<Shelf> shelf = ShelfOf(key);
  const std::lock_guard<std::mutex> lock(shelf->mutex);
  for (const auto& entry : shelf->entries) {
    if (max_users > 0 && entry->users >= max_users) continue;
    if (std::shared_ptr<Session> session = entry->session.lock()) return {Lend(shelf, entry, std::move(session)), false};
  }
  std::shared_ptr<Session> session;
  const auto load = [&] { session = Load(path, options); };
  // Not where it might start the threads of the whole process.
  options.ComputesInCaller() && options.per_session_threads ? RunAtLowPriority(load) : load();
  const auto entry = std::make_shared<Shelf::Entry>();
  entry->session = session;
  shelf->entries.push_back(entry);
  return {Lend(shelf, entry, std::move(session)), true};
}

}  // namespace recserve
