// Sessions that are shared: by the instances of a version, and by models that serve the same SavedModel.
#pragma once

#include <memory>
#include <string>

#include "parameters.h"
#include "session.h"

namespace recserve {

struct SharedSession {
  std::shared_ptr<Session> session;
  bool is_new = false;  // loaded just now, not found
};

// A session of the SavedModel in that folder, one that is there already if possible. It is unloaded when its last
// holder lets go. Two folders are the same SavedModel if saved_model.pb and all files of variables/ and assets/ are:
// by device and inode, so symbolic and hard links count, and by size and time, so a file that was rewritten does not.
// Only sessions with the same options and the same max_users are shared.
// max_users: holders that a session may have, 0 for no limit.
// Throws BackendError if the SavedModel cannot be loaded.
SharedSession AcquireSession(const std::string& path, const SessionOptions& options, int64_t max_users);

}  // namespace recserve
