<?php
// SPDX-License-Identifier: Apache-2.0
/*
 * Plugin Name: Collaboration by mod_comet
 * Description: Carries the block editor's real-time collaboration: wordpress.conf says how to use it.
 * Requires at least: 7.0
 * Requires PHP: 8.0
 */

if (!defined('ABSPATH')) {
    exit;
}

/** The URL of the endpoint, and the file of its key. wp-config.php may define
 * others. */
defined('COMET_URL') || define('COMET_URL', '/comet');
defined('COMET_KEY') || define('COMET_KEY', '/etc/apache2/comet.key');

/** Whether the user may edit an object or, without an id, a list of objects. */
function comet_may(string $type, ?int $id): bool
{
    [$kind, $name] = explode('/', $type, 2) + ['', ''];
    $object = $kind === 'postType' ? get_post_type_object($name) : null;
    if (!$object) {
        return false;           // the object is edited without collaboration
    }
    return $id === null ? current_user_can($object->cap->edit_posts)
        : get_post_type($id) === $name && current_user_can('edit_post', $id);
}

/** Sign a token for the channel of one document. */
function comet_token(string $channel): string
{
    $part = fn (string $bytes) => rtrim(strtr(base64_encode($bytes), '+/', '-_'),
                                        '=');
    $text = $part('{"alg":"HS256","typ":"JWT"}') . '.' . $part(json_encode([
        'sub' => wp_get_current_user()->user_login,
        'iat' => time(),
        'exp' => time() + 300,
        'comet' => ['read' => [$channel], 'write' => [$channel]],
    ]));
    $key = rtrim(file_get_contents(COMET_KEY), "\r\n");
    return $text . '.' . $part(hash_hmac('sha256', $text, $key, true));
}

add_action('rest_api_init', function () {
    register_rest_route('comet/v1', '/token', [
        'methods' => 'GET',
        'args' => [
            'type' => ['type' => 'string', 'required' => true,
                       'pattern' => '^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$'],
            'id' => ['type' => 'integer'],
        ],
        'permission_callback' => fn ($request) => comet_may($request['type'],
                                                            $request['id']),
        'callback' => function ($request) {
            $channel = implode('/', array_filter(['wordpress', $request['type'],
                                                  $request['id']]));
            return ['channel' => $channel, 'token' => comet_token($channel)];
        },
    ]);
});

// The editor asks for its providers when it opens the first document, and only
// then loads this module.  The module must use the editor's own copy of Yjs.
add_action('enqueue_block_editor_assets', function () {
    wp_register_script('comet-collaboration', false,
                       ['wp-hooks', 'wp-sync', 'wp-api-fetch', 'wp-url']);
    wp_enqueue_script('comet-collaboration');
    wp_add_inline_script('comet-collaboration', sprintf(<<<'JS'
        wp.hooks.addFilter('sync.providers', 'comet/collaboration', () => [
            async (options) => (await import(%s)).connect(options, {
                Y: wp.sync.Y,
                url: %s,
                ask: (query) => wp.apiFetch({
                    path: wp.url.addQueryArgs('/comet/v1/token', query),
                }),
            }),
        ]);
        JS, wp_json_encode(plugins_url('comet-yjs.js', __FILE__)),
        wp_json_encode(COMET_URL)));
});
