/* parts_call.h -- private to text/: what stands between the tags of a tool call. */
#pragma once
#include "text/text.h"

#define CALL_SEPARATOR "<｜tool▁sep｜>"
/* calls[from..] is what a model wrote between the tags: in its place comes the line {"name",
 * "arguments"}. False, and nothing is changed, where it is no call. */
bool call_write(Buf *calls, int64_t from, ToolSyntax tools);
