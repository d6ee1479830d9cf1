#pragma once

// Throws std::runtime_error if NthHighest differs from sorting.
void CheckNthHighest();
