"""The folder of a private broker: who may use it, and what it keeps for the next start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from coordinator.errors import PrivateBrokerError
from coordinator.local_rabbitmq.folder import claim_folder, load_cluster, load_settings, write_files
from coordinator.local_rabbitmq.ports import is_free


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
