# SPDX-License-Identifier: Apache-2.0
"""A Laravel site that only broadcasts. It consists of Debian's Illuminate
components and npm's laravel-echo, with the driver and the connector of
conf/examples."""

import json
import os
import shutil
import subprocess

from httpd_env import REPO, SLOW
from node_client import NodeClient

# Illuminate's own packages, unpacked by conf/setup.  They are not installed,
# because an installation would bring in two dozen other packages.
ILLUMINATE = os.path.join(REPO, os.environ.get("BUILD", "build"),
                          "laravel/usr/share/php/Illuminate")
EXAMPLES = os.path.join(REPO, "conf", "examples")

# What an application has besides the driver: an event, rules for its channels,
# and its configuration.  The first lines find Laravel's classes.
APP = r"""<?php
namespace {
    error_reporting(E_ALL & ~E_DEPRECATED);
    spl_autoload_register(function ($class) {
        $path = strtr($class, '\\', '/') . '.php';
        foreach (['Support', 'Collections', 'Macroable', '/php'] as $folder) {
            $file = $folder === '/php' ? "/usr/share/php/$path"     // Psr
                : 'ILLUMINATE/../' . str_replace(
                    'Illuminate/Support/', "Illuminate/$folder/", $path);
            if (is_file($file)) {
                require $file;
                return;
            }
        }
    });
    require 'ILLUMINATE/Collections/helpers.php';
    require 'ILLUMINATE/Support/helpers.php';
}
namespace Symfony\Component\HttpKernel\Exception {
    class AccessDeniedHttpException extends \RuntimeException {}
}
namespace App\Events {
    use Illuminate\Broadcasting\{Channel, PrivateChannel};

    class Shipped implements \Illuminate\Contracts\Broadcasting\ShouldBroadcast
    {
        public function __construct(private array $on, private array $with,
                                    public ?string $socket) {}

        public function broadcastOn()
        {
            return array_map(fn ($name) => str_starts_with($name, 'private-')
                ? new PrivateChannel(substr($name, 8)) : new Channel($name),
                $this->on);
        }

        public function broadcastWith()
        {
            return $this->with;
        }
    }
}
namespace {
    use App\Broadcasting\CometBroadcaster;

    require __DIR__ . '/CometBroadcaster.php';

    function manager(): Illuminate\Broadcasting\BroadcastManager
    {
        $app = new Illuminate\Container\Container;
        $app['config'] = [
            'broadcasting.default' => 'comet',
            'broadcasting.connections.comet' => [
                'driver' => 'comet', 'dsn' => 'sqlite:DATABASE', 'key' => 'KEY',
                'lifetime' => 2]];
        $manager = new Illuminate\Broadcasting\BroadcastManager($app);
        $manager->extend('comet', fn ($app, $config)
            => new CometBroadcaster($config));
        $manager->channel('orders.{id}',
            fn ($user, $id) => $user->getAuthIdentifier() === (int) $id);
        $manager->channel('staff', fn ($user) => true);
        $manager->channel('room.{name}', fn ($user, $name) => true);
        return $manager;
    }
}
"""

AUTH = r"""<?php
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
require __DIR__ . '/../app.php';
session_start(['read_and_close' => true]);

class Request
{
    public function __get($name)
    {
        return json_decode(file_get_contents('php://input'), true)[$name]
            ?? null;
    }

    public function user()
    {
        return !isset($_SESSION['id']) ? null : new class {
            public function getAuthIdentifier()
            {
                return (int) $_SESSION['id'];
            }
        };
    }
}

try {
    echo json_encode(manager()->connection()->auth(new Request));
} catch (AccessDeniedHttpException) {
    http_response_code(403);
}
"""

LOGIN = "<?php session_start(); $_SESSION = ['id' => $_GET['id']];"

# This script reads lines of JSON: it broadcasts [channels, payload, socket],
# and answers "cursor" with the driver's cursor.
PUBLISH = r"""<?php
require __DIR__ . '/app.php';
while ($line = fgets(STDIN)) {
    $said = json_decode($line, true);
    if ($said === 'cursor') {
        echo manager()->connection()->cursor(), "\n";
        continue;
    }
    (new Illuminate\Broadcasting\BroadcastEvent(
        new App\Events\Shipped(...$said)))->handle(manager());
    echo "0\n";
}
"""


def install(server):
    """Write the site's files. The connector gets its own folder."""
    for name, text in (("app.php", APP), ("broadcasting/auth.php", AUTH),
                       ("login.php", LOGIN), ("publish.php", PUBLISH)):
        for word, value in (("DATABASE", server.db),
                            ("KEY", server.root + "/conf/comet.key"),
                            ("ILLUMINATE", ILLUMINATE)):
            text = text.replace(word, value)
        server.write(name, text)
    for source, name in (("conf/examples/CometBroadcaster.php", None),
                         ("conf/examples/comet-echo.js", "js"),
                         ("htdocs/comet/comet.js", "js")):
        folder = os.path.join(server.docroot, name or "")
        os.makedirs(folder, exist_ok=True)
        shutil.copy(os.path.join(REPO, source), folder)
    server.write("js/package.json", '{"type": "module"}')


class Worker:
    """A queue worker, which broadcasts events."""

    def __init__(self, server):
        self.process = subprocess.Popen(
            ["php", os.path.join(server.docroot, "publish.php")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer.isdigit(), answer
        return answer

    def broadcast(self, channels, payload, socket=None):
        self.ask([channels, payload, socket])

    def cursor(self):
        return self.ask("cursor")

    def close(self):
        self.process.stdin.close()
        self.process.wait(20 * SLOW)
        self.process.stdout.close()


class Page(NodeClient):
    """A page that uses Laravel's Echo."""

    def __init__(self, server, cookie, since=""):
        super().__init__("laravel_echo.mjs",
                         os.path.join(server.docroot, "js"),
                         "http://127.0.0.1:%d" % server.port, cookie, since)
        self.wait(lambda: self.said, "a start")

    @property
    def socket(self):
        return self.said[0][1]

    def follow(self, *names):
        """Subscribe to channels, and wait until the subscriptions are
        confirmed."""
        for name in names:
            self.command("channel" if name == "news" else "private", name)
        for name in names:
            self.wait(lambda name=name: ["subscribed", name] in self.said,
                      "a subscription to " + name)

    def events(self, name):
        """Return the numbers in the events that a channel has delivered."""
        return [words[2]["n"] for words in list(self.said)
                if words[:2] == ["event", name]]

    def until(self, name, numbers):
        """Wait until a channel has exactly these events, in this order."""
        self.wait(lambda: len(self.events(name)) >= len(numbers), "events")
        assert self.events(name) == list(numbers), self.said
