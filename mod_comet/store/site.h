/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/site.h
 * What a file's place must be checked against: the users, folders and jail of the
 * web server.  Main process only.
 */
#ifndef COMET_SITE_H
#define COMET_SITE_H

#include <sys/types.h>

#include <apr_tables.h>

/** What an engine might need to know about the web server to check a place. */
typedef struct comet_site_t {
    const char *user; /* the user that the children become */
    uid_t uid;
    gid_t gid; /* the children's own group; /etc/group may add others */
    /** The folders of the server's configuration files, const char *. */
    const apr_array_header_t *config_folders;
    /** The folders that the server publishes (DocumentRoot, Alias), const
     * char *. */
    const apr_array_header_t *published_folders;
    /** The real path of the folder that the children see as "/" (ChrootDir);
     * NULL: they see all files. */
    const char *jail;
} comet_site_t;

/** Whether an absolute path is a folder or lies below it. */
int comet_site_is_within(const char *path, const char *folder);

/**
 * Find the published folder that a file lies in.
 * @param path  the file's real path
 * @return the folder's real path, in @a p; NULL: nobody can download the file
 */
const char *comet_site_publishes(const comet_site_t *site, const char *path,
                                 apr_pool_t *p);

#endif /* COMET_SITE_H */
