/* repo.h -- private to fetch/: what a repository of a hub holds, and which files are meant. */
#pragma once
#include "base/base.h"

/* OWNER/NAME@REVISION:CHOICE, taken apart. */
typedef struct RepoSpec {
    Str repo, revision; /* "main" where none is given */
    Str choice;         /* a file or a type; empty: none */
} RepoSpec;
bool spec_parse(RepoSpec *s, Arena *a, Str text, Err *err) CHECKED;

typedef struct RepoFile {
    Str path, base; /* base: behind the last slash */
    int64_t size;
    Str id; /* of its bytes: a SHA-256 in hex where `hashed`, else git's */
    bool hashed;
} RepoFile;

enum { LISTING_FILES = 1 << 16 };
typedef struct Listing {
    RepoFile *file; /* (n), of LISTING_FILES */
    int64_t n;
} Listing;
void listing_init(Listing *l, Arena *a);
/* A page of the hub's answer, a JSON array. Refuses names that lead out of a folder. */
bool listing_add(Listing *l, Arena *a, Str json, const char *repo, Err *err) CHECKED;

typedef struct Choice {
    bool folder; /* else one GGUF file, or the parts of one in order */
    const RepoFile **file;
    int64_t n;
} Choice;
bool listing_choose(Choice *c, Arena *a, const Listing *l, const RepoSpec *s, Err *err) CHECKED;

/* A name that a file may have here: one part of a path, of printable characters, not hidden. */
bool name_usable(Str name);
/* The number that "x-00002-of-00003.gguf" has, and how many there are; 0: it is no part. */
int64_t part_of_split(Str name, int64_t *parts);
enum { SPLIT_END = sizeof "-00001-of-00000.gguf" - 1 };
/* Whether s is a SHA-256 in hex. */
bool is_sha256(Str s);
