// Measures a network of dhtnode processes, through two nodes of its own within this process: one that puts, one that gets.
// That spares OpenDHT the way from a client to a node, which Comet's figures include.
//
//   driver BOOTSTRAP_PORT NETWORK OPERATIONS
//
// Prints one line for each figure: its name and its value, in seconds or operations a second. A put ends when OpenDHT
// says that the nearest nodes have it; a get ends with the first value.

#include <opendht.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;
using Ended = std::function<void(bool)>;
using Operation = std::function<void(const dht::InfoHash&, Ended)>;

// Runs the operation on each key, so many at once; the seconds that each took.
struct Load {
    std::mutex mutex;
    std::condition_variable changed;
    size_t under_way = 0;
    size_t failed = 0;
    std::vector<double> took;

    double run(const std::vector<dht::InfoHash>& keys, size_t at_once, const Operation& operation) {
        const auto start = Clock::now();
        for (const auto& key : keys) {
            {
                std::unique_lock<std::mutex> lock(mutex);
                changed.wait(lock, [&] { return under_way < at_once; });
                ++under_way;
            }
            const auto before = Clock::now();
            operation(key, [this, before](bool succeeded) {
                const std::chrono::duration<double> lasted = Clock::now() - before;
                std::lock_guard<std::mutex> lock(mutex);
                --under_way;
                if (succeeded) took.push_back(lasted.count()); else ++failed;
                changed.notify_one();
            });
        }
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return under_way == 0; });
        const std::chrono::duration<double> lasted = Clock::now() - start;
        return static_cast<double>(took.size()) / lasted.count();
    }

    double median() {
        if (took.empty()) return -1;
        std::nth_element(took.begin(), took.begin() + took.size() / 2, took.end());
        return took[took.size() / 2];
    }
};

static Operation putting(dht::DhtRunner& node) {
    return [&node](const dht::InfoHash& key, Ended ended) {
        const std::vector<uint8_t> value(100, 'v');
        node.put(key, std::make_shared<dht::Value>(value), [ended](bool done) { ended(done); });
    };
}

// The first value ends a get; if there is none, the end of the search does.
static Operation getting(dht::DhtRunner& node) {
    return [&node](const dht::InfoHash& key, Ended ended) {
        auto open = std::make_shared<std::atomic<bool>>(true);
        node.get(
            key,
            [open, ended](const std::vector<std::shared_ptr<dht::Value>>& values) {
                if (values.empty()) return true;
                if (open->exchange(false)) ended(true);
                return false;
            },
            [open, ended](bool) {
                if (open->exchange(false)) ended(false);
            });
    };
}

static std::vector<dht::InfoHash> keys(const std::string& name, size_t count) {
    std::vector<dht::InfoHash> found;
    for (size_t number = 0; number < count; ++number) {
        found.push_back(dht::InfoHash::get(name + ":" + std::to_string(number)));
    }
    return found;
}

int main(int count, char** words) {
    if (count != 4) {
        std::fprintf(stderr, "usage: driver BOOTSTRAP_PORT NETWORK OPERATIONS\n");
        return 2;
    }
    const auto network = static_cast<dht::NetId>(std::strtoul(words[2], nullptr, 10));
    const size_t operations = std::strtoul(words[3], nullptr, 10);
    dht::DhtRunner putter, getter;
    for (auto* node : {&putter, &getter}) {
        node->run(0, {}, true, network);
        node->bootstrap("127.0.0.1", words[1]);
    }
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    const auto knows_some = [](dht::DhtRunner& node) { return node.getNodesStats(AF_INET).good_nodes >= 8; };
    while (!(knows_some(putter) && knows_some(getter))) {
        if (Clock::now() > deadline) {
            std::fprintf(stderr, "the network was not found within a minute: %u and %u nodes are known\n", putter.getNodesStats(AF_INET).good_nodes, getter.getNodesStats(AF_INET).good_nodes);
            return 1;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    size_t failed = 0;
    const auto measure = [&](const char* what, size_t at_once, size_t many) {
        Load puts, gets;
        const auto chosen = keys(what, many);
        const double put_rate = puts.run(chosen, at_once, putting(putter));
        const double get_rate = gets.run(chosen, at_once, getting(getter));
        std::printf("%s_put_seconds %.9f\n%s_get_seconds %.9f\n", what, puts.median(), what, gets.median());
        std::printf("%s_put_rate %.3f\n%s_get_rate %.3f\n", what, put_rate, what, get_rate);
        failed += puts.failed + gets.failed;
    };
    measure("one", 1, operations);
    measure("many", 32, operations * 4);
    std::printf("failed %zu\n", failed);
    std::fflush(stdout);
    putter.join();
    getter.join();
    return 0;
}
