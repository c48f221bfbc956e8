"""What a private node is started with, and where its programs are found."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.broker import server
from coordinator.broker.node_config import NodeSettings, node_config, node_environment
from coordinator.broker.node_folder import claim_folder, load_cluster, load_settings, write_files
from coordinator.broker.ports import choose_ports, is_free
from coordinator.broker.private import BrokerUrls, PrivateBroker
from coordinator.errors import PrivateBrokerError

SETTINGS = NodeSettings(
    name="one@localhost",
    folder=Path("/somewhere"),
    password="the-password",  # noqa: S106 - not a secret
    cookie="the-cookie",
    amqp_port=21001,
    management_port=21002,
    distribution_port=21003,
    epmd_port=21004,
)


def test_the_node_listens_on_loopback_only() -> None:
    """AMQP, the management API, Erlang's distribution and its name server are all told 127.0.0.1."""
    conf = node_config(SETTINGS)["rabbitmq.conf"].splitlines()
    environment = node_environment(SETTINGS, {})
    assert "listeners.tcp.1 = 127.0.0.1:21001" in conf
    assert {"management.tcp.ip = 127.0.0.1", "management.tcp.port = 21002"} <= set(conf)
    assert "inet_dist_use_interface {127,0,0,1}" in environment["ERL_FLAGS"]
    assert (environment["ERL_EPMD_ADDRESS"], environment["ERL_EPMD_PORT"]) == ("127.0.0.1", "21004")


def test_the_first_node_forms_the_cluster_and_others_join_it() -> None:
    """Only nodes after the first look for a peer, and for that one alone; a node by itself has none of this."""
    peers = ("one@localhost", "two@localhost", "three@localhost")
    confs = [node_config(replace(SETTINGS, name=name, peers=peers))["rabbitmq.conf"] for name in peers]
    assert all("cluster_partition_handling = pause_minority" in conf for conf in confs)
    assert "cluster_formation" not in confs[0]
    for name, conf in zip(peers[1:], confs[1:], strict=True):
        assert "classic_config.nodes.1 = one@localhost" in conf
        assert f"classic_config.nodes.2 = {name}" in conf
        assert "nodes.3" not in conf
    assert "cluster" not in node_config(SETTINGS)["rabbitmq.conf"]


def test_a_clusters_nodes_share_secrets_and_name_server(tmp_path: Path) -> None:
    """They have one password, cookie and name server, ports of their own, and all of it again the next time."""
    nodes = load_cluster(tmp_path, 3, {})
    assert len({(node.password, node.cookie, node.epmd_port) for node in nodes}) == 1
    own = [port for node in nodes for port in (node.amqp_port, node.management_port, node.distribution_port)]
    assert len({*own, nodes[0].epmd_port}) == 10
    for node in nodes:
        write_files(node)
    assert load_cluster(tmp_path, 3, {}) == nodes


def test_a_clusters_nodes_have_ports_in_a_row(tmp_path: Path) -> None:
    """A port that is asked for is the first node's, and the others have the next ones, or it fails."""
    # Below what private brokers choose from, for one that another test starts may hold or take the neighbour of a
    # port of theirs at any moment.
    first = next(port for port in range(10_000, 20_000, 3) if all(map(is_free, (port, port + 1, port + 2))))
    nodes = load_cluster(tmp_path, 3, {"amqp_port": first, "management_port": 0})
    assert [node.amqp_port for node in nodes] == [first, first + 1, first + 2]
    with pytest.raises(PrivateBrokerError, match="port 65536 is in use"):
        load_cluster(tmp_path, 3, {"amqp_port": 65535})


def test_a_folder_keeps_its_number_of_nodes(tmp_path: Path) -> None:
    """A cluster is no single node, nor one of another size, and the other way round."""
    single, several = tmp_path / "single", tmp_path / "several"
    for folder in (single, several):
        claim_folder(folder)
    write_files(load_settings(single, {}))
    for node in load_cluster(several, 3, {}):
        write_files(node)
    with pytest.raises(PrivateBrokerError, match="holds a cluster of 3 nodes, not a single one"):
        load_settings(several, {})
    for folder, nodes in ((single, 3), (several, 5)):
        with pytest.raises(PrivateBrokerError, match=f"cannot become one of {nodes}"):
            load_cluster(folder, nodes, {})


def test_the_environment_holds_no_secret() -> None:
    """Environments are inherited by helpers and shown by tools, so secrets are in files only."""
    text = repr(node_environment(SETTINGS, {}))
    assert "the-password" not in text
    assert "the-cookie" not in text


def test_what_configures_another_node_is_not_inherited() -> None:
    """A developer's own RABBITMQ_* and ERL_* variables must not reach our node; the PATH must."""
    inherited = {
        "PATH": "/bin",
        "RABBITMQ_NODE_PORT": "5672",
        "ERL_LIBS": "/x",
        "HOME": "/root",
        "LC_ALL": "C",
    }
    environment = node_environment(SETTINGS, inherited)
    assert environment["PATH"] == "/bin"
    assert environment["HOME"] == "/somewhere"
    assert not {"RABBITMQ_NODE_PORT", "ERL_LIBS", "LC_ALL"} & environment.keys()


def test_secrets_are_not_shown() -> None:
    """Neither settings nor URLs print a password."""
    urls = BrokerUrls(amqp="amqp://me:secret@127.0.0.1:1/%2F", management="http://me:secret@127.0.0.1:2")
    assert repr(urls) == "BrokerUrls(amqp='amqp://me:***@127.0.0.1:1/%2F', management='http://me:***@127.0.0.1:2')"
    assert "the-password" not in repr(SETTINGS)
    assert "the-cookie" not in repr(SETTINGS)


def test_a_folder_keeps_its_secrets_name_and_free_ports(tmp_path: Path) -> None:
    """The next broker on a folder has all that the last one had, but for a port that somebody took."""
    first = load_settings(tmp_path, {})
    write_files(first)
    assert load_settings(tmp_path, {}) == first
    with socket.create_server(("127.0.0.1", first.amqp_port)):
        second = load_settings(tmp_path, {})
    assert second.amqp_port != first.amqp_port
    assert (second.name, second.password, second.cookie) == (first.name, first.password, first.cookie)
    assert second.management_port == first.management_port


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """No other user may read a file of the folder, or even list it."""
    folder = tmp_path / "new"
    claim_folder(folder)
    write_files(load_settings(folder, {}))
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.iterdir() if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    """A second claim says which process has the first."""
    claim_folder(tmp_path)
    with pytest.raises(PrivateBrokerError, match=r"already runs \(pid \d+\)"):
        claim_folder(tmp_path)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    """The permissions of a folder that is not ours are left alone."""
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(PrivateBrokerError, match="neither empty nor a private broker's"):
        claim_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_port_that_was_asked_for_must_be_free() -> None:
    """A port merely preferred is replaced when it is taken, one asked for is an error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert choose_ports({"a": port}, required=frozenset())["a"] != port
        with pytest.raises(PrivateBrokerError, match=f"port {port} is in use"):
            choose_ports({"a": port}, required=frozenset({"a"}))


def test_a_port_that_was_asked_for_goes_before_one_preferred() -> None:
    """A name server may have had, by chance, the port that its node is told to take now."""
    port = next(port for port in range(10_000, 20_000) if is_free(port))
    chosen = choose_ports({"epmd": port, "amqp": port}, required=frozenset({"amqp"}))
    assert chosen["amqp"] == port != chosen["epmd"]


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without RabbitMQ."""
    monkeypatch.setattr(server, "SERVER_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RABBITMQ_HOME", raising=False)


def make_program(path: Path) -> Path:
    """Make an empty program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


@pytest.mark.usefixtures("_nowhere")
async def test_a_missing_server_is_named() -> None:
    """Without RabbitMQ the error says what to install."""
    assert server.find_server() is None
    assert server.find_epmd() is None
    with pytest.raises(PrivateBrokerError, match="apt install rabbitmq-server"):
        await PrivateBroker().start()


@pytest.mark.usefixtures("_nowhere")
def test_the_server_is_found_where_rabbitmq_home_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A generic build that is unpacked somewhere is named by RABBITMQ_HOME."""
    script = make_program(tmp_path / "home/sbin/rabbitmq-server")
    make_program(tmp_path / "home/sbin/rabbitmq-env")
    monkeypatch.setenv("RABBITMQ_HOME", str(tmp_path / "home"))
    assert server.find_server() == script


@pytest.mark.usefixtures("_nowhere")
def test_a_wrapper_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian's wrapper on the PATH is a link to a script that switches users; the real one is taken."""
    wrapper = make_program(tmp_path / "lib/bin/rabbitmq-script-wrapper")
    (tmp_path / "rabbitmq-server").symlink_to(wrapper)
    make_program(tmp_path / "lib/bin/rabbitmq-env")
    assert server.find_server() is None
    real = make_program(tmp_path / "lib/bin/rabbitmq-server")
    monkeypatch.setattr(server, "SERVER_FOLDERS", (str(real.parent),))
    assert server.find_server() == real


@pytest.mark.usefixtures("_nowhere")
def test_the_name_server_is_found_beside_erl(tmp_path: Path) -> None:
    """Some installations put only `erl` on the PATH."""
    (tmp_path / "erl").symlink_to(make_program(tmp_path / "otp/bin/erl"))
    epmd = make_program(tmp_path / "otp/bin/epmd")
    assert server.find_epmd() == epmd
