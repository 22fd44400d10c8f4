# SPDX-License-Identifier: Apache-2.0
"""Symfony's own Mercure component (Debian's php-symfony-mercure), unchanged."""

import json
import os
import subprocess

import pytest

import tokens
from mercure import BOOK, Subscriber
from httpd_env import SLOW

COMPONENT = "/usr/share/php/Symfony/Component/Mercure/autoload.php"
SERVER = {"conf": """
CometMercure /.well-known/mercure
<Location "/.well-known/mercure">
  CometTokenKey HS256 KEYS/secret
  CometMercureAnonymous on
</Location>
""".replace("KEYS", tokens.FOLDER)}

pytestmark = pytest.mark.skipif(not os.path.exists(COMPONENT),
                                reason="php-symfony-mercure is not installed")

# What an application does: it publishes and sets its visitors' cookie.
SCRIPT = r"""<?php
require_once 'Symfony/Component/Mercure/autoload.php';
use Symfony\Component\HttpClient\HttpClient;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\Mercure\{Authorization, Hub, HubRegistry, Update};
use Symfony\Component\Mercure\Jwt\{StaticTokenProvider, TokenFactoryInterface};

[, $url, $secret, $updates] = $argv;

class Factory implements TokenFactoryInterface
{
    public function __construct(private string $secret) {}

    public function create(?array $subscribe = [], ?array $publish = [],
                           array $additionalClaims = []): string
    {
        foreach ($additionalClaims as &$claim) {
            if ($claim instanceof DateTimeInterface) {
                $claim = $claim->getTimestamp();
            }
        }
        $b64 = fn ($x) => rtrim(strtr(base64_encode($x), '+/', '-_'), '=');
        $text = $b64('{"alg":"HS256","typ":"JWT"}') . '.' . $b64(json_encode(
            ['mercure' => ['subscribe' => $subscribe, 'publish' => $publish]]
            + $additionalClaims));
        return $text . '.' . $b64(hash_hmac('sha256', $text, $this->secret,
                                            true));
    }
}

$factory = new Factory($secret);
$hub = new Hub($url, new StaticTokenProvider($factory->create([], ['*'])),
               $factory, null, HttpClient::create());
$ids = [];
foreach (json_decode($updates, true) as $u) {
    $ids[] = $hub->publish(new Update(...$u));
}
$authorization = new Authorization(new HubRegistry($hub));
$cookie = $authorization->createCookie(
    Request::create($url), ['https://example.com/books/{id}']);
echo json_encode(['ids' => $ids, 'cookie' => $cookie->getValue(),
                  'name' => $cookie->getName()]);
"""


def symfony(server, tmp_path, *updates):
    """Publish each of the updates: (topics, data, private, id, type, retry)."""
    script = tmp_path / "publish.php"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["php", str(script),
         "http://127.0.0.1:%d/.well-known/mercure" % server.port,
         tokens.SECRET, json.dumps(updates)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30 * SLOW)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_713_01_publish(server, tmp_path):
    """An update arrives with each of its properties, and the component returns
    its id.  With the component's cookie a visitor reads the private update."""
    book = "line1\nline2 ü & <b>"
    with Subscriber(server, BOOK, "end") as anybody:
        said = symfony(
            server, tmp_path,
            [[BOOK, "urn:other"], book, False, "urn:mine", "book", 3000],
            [BOOK, "secret", True], ["end", ""])
        assert anybody.until(2) == [book, ""]
        assert anybody.ids() == [said["ids"][0], said["ids"][2]]
        assert said["ids"][0] == "urn:mine"
        assert anybody.events[0]["type"] == "book"
        assert b"retry: 3000\n" in anybody.bytes
    assert said["name"] == "mercureAuthorization"
    cookie = {"Cookie": "%s=%s" % (said["name"], said["cookie"])}
    with Subscriber(server, BOOK, headers=cookie,
                    lastEventID="earliest") as visitor:
        assert visitor.until(2) == [book, "secret"]
    with Subscriber(server, "urn:other", lastEventID="earliest") as other:
        assert other.until(1) == [book]


def test_713_02_a_wrong_secret(server, tmp_path):
    """Symfony's component reports the hub's refusal."""
    script = tmp_path / "publish.php"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["php", str(script),
         "http://127.0.0.1:%d/.well-known/mercure" % server.port,
         tokens.NEW_SECRET, json.dumps([["x", "y"]])],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * SLOW)
    assert done.returncode != 0 and b"401" in done.stdout
