<?php
// SPDX-License-Identifier: Apache-2.0
// A broadcasting driver for Laravel: laravel.conf says how to use it.  An
// event is stored as a row, which httpd pushes.  Laravel's channel `orders`
// becomes the channel public/orders, and `private-orders.7` becomes
// private/orders.7.  A user who may listen to a private channel gets a token,
// which httpd checks without PHP.

namespace App\Broadcasting;

use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use PDO;
use PDOException;
use RuntimeException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

class CometBroadcaster extends Broadcaster
{
    private const PRIVATE = 'private-';

    /**
     * @param  array{dsn: string, key: string, username?: string,
     *     password?: string, lifetime?: int}  $config  `lifetime`: for how many
     *     seconds a token grants its channels
     */
    public function __construct(private array $config)
    {
    }

    /**
     * Sign a token for the requested channels that the user may listen to.
     * Echo's connector requests all its private channels at once.
     *
     * @return array{token: string, refused: list<string>}
     */
    public function auth($request)
    {
        $user = null;
        $granted = $refused = [];
        foreach ((array) $request->channel_name as $name) {
            try {
                $user = $this->listener($request, $name);
                $granted[] = $this->stored($name);
            } catch (AccessDeniedHttpException) {
                $refused[] = $name;
            }
        }
        if ($granted === []) {
            throw new AccessDeniedHttpException;
        }
        return ['token' => $this->sign((string) $user->getAuthIdentifier(),
                                       $granted),
                'refused' => $refused];
    }

    public function validAuthenticationResponse($request, $result)
    {
        return $result;
    }

    public function broadcast(array $channels, $event, array $payload = [])
    {
        $body = json_encode($payload, JSON_THROW_ON_ERROR
                            | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        $rows = [];
        foreach ($this->formatChannels($channels) as $name) {
            array_push($rows, $this->stored($name), $event, $body);
        }
        if ($rows === []) {
            return;
        }
        try {
            // One statement, so all channels get the event, or none does.
            $this->connect()->prepare(
                'INSERT INTO message(channel, type, body) VALUES'
                . implode(',', array_fill(0, count($rows) / 3, '(?,?,?)')))
                ->execute($rows);
        } catch (PDOException $e) {
            throw new BroadcastException('Comet: ' . $e->getMessage(), 0, $e);
        }
    }

    /**
     * Find the newest event.  Call this before reading a page's data: then the
     * page lacks only later events.
     */
    public function cursor(): int
    {
        return (int) $this->connect()->query(
            'SELECT timestamp FROM message ORDER BY timestamp DESC LIMIT 1')
            ->fetchColumn();
    }

    /** Find the user, and check that they may listen to a private channel. */
    private function listener($request, $name)
    {
        // A star or a slash would make the name a pattern of several channels.
        if (!is_string($name)
            || !preg_match('/^private-[-\w=@,.;]+$/D', $name)) {
            throw new AccessDeniedHttpException;
        }
        $channel = substr($name, strlen(self::PRIVATE));
        $user = $this->retrieveUser($request, $channel);
        if (!$user || !$this->verifyUserCanAccessChannel($request, $channel)) {
            throw new AccessDeniedHttpException;
        }
        return $user;
    }

    private function stored(string $name): string
    {
        return str_starts_with($name, self::PRIVATE)
            ? 'private/' . substr($name, strlen(self::PRIVATE))
            : "public/$name";
    }

    /** A queue worker runs long, so each use gets a new connection. */
    private function connect(): PDO
    {
        return new PDO($this->config['dsn'], $this->config['username'] ?? null,
                       $this->config['password'] ?? null, [
            PDO::ATTR_TIMEOUT => 5,
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        ]);
    }

    private function sign(string $user, array $channels): string
    {
        $key = @file_get_contents($this->config['key']);
        if ($key === false || rtrim($key) === '') {
            throw new RuntimeException("Comet: {$this->config['key']} cannot be"
                                       . ' read, or is empty');
        }
        $part = fn (string $bytes) => rtrim(strtr(base64_encode($bytes),
                                                  '+/', '-_'), '=');
        $text = $part('{"alg":"HS256","typ":"JWT"}') . '.' . $part(json_encode([
            'sub' => $user,
            'iat' => time(),
            'exp' => time() + ($this->config['lifetime'] ?? 300),
            'comet' => ['read' => $channels],
        ]));
        return $text . '.' . $part(hash_hmac('sha256', $text,
                                             rtrim($key, "\r\n"), true));
    }
}
