"""What the doctor makes of what nodes say: pure, so that a skewed clock needs no skewed clock."""

from dataclasses import replace

import pytest

from anchorface.infra.doctor import comparison, reach
from anchorface.infra.doctor.collective import by_gpus
from anchorface.infra.doctor.findings import grouped
from anchorface.infra.doctor.node import State, state
from anchorface.infra.doctor.nodes import named
from anchorface.infra.doctor.ports import Listening

STATE = State(python="3.11.7", code="0.1 aaaa", packages=(), cpus=8, gpus=2, memory=64.0, free=100.0, scratch="/tmp",
              interfaces={"gloo": "eth0", "nccl": "eth0"}, listening=())


def test_the_offset_of_a_clock_is_known_to_half_the_round_trip() -> None:
    assert comparison.offset(100.0, 170.5, 101.0) == (70.0, 0.5)
    assert comparison.offset(100.0, 100.5, 101.0) == (0.0, 0.5)


@pytest.mark.parametrize(("ahead", "uncertain", "said"), [
    (0.9, 0.0, "all ok"), (1.1, 0.0, "a note"), (-1.1, 0.0, "a note"), (1.1, 0.2, "all ok"), (59.0, 0.1, "a note"),
    (61.0, 0.1, "a fault"), (-3600.0, 0.1, "a fault"), (61.0, 2.0, "a note"),
])
def test_a_clock_is_judged_by_what_is_certain(ahead: float, uncertain: float, said: str) -> None:
    rows = comparison.clocks({"a": (ahead, uncertain), "b": (0.0, 0.0)})
    assert [f"{row.subject} {row.state}" for row in rows] == [said]
    assert ("chrony" in rows[0].remedy) == (said != "all ok")
    assert ("behind" if ahead < 0 else "ahead") in rows[0].detail or said == "all ok"


def test_nodes_with_other_code_packages_or_python_are_named_those_that_are_alike_together() -> None:
    other = replace(STATE, code="0.1 bbbb", python="3.12.1", packages=("numpy 2.0 (2.1)",))
    rows = comparison.versions({"a": STATE, "b": other, "c": other}, STATE)
    assert [row.state for row in rows] == ["fault"] * 3 and all(row.remedy for row in rows)
    assert rows[0].detail == "b, c: 0.1 bbbb; here: 0.1 aaaa" and "numpy 2.0 (2.1)" in rows[2].detail
    rows = comparison.versions({"a": replace(STATE, python="3.11.9")}, STATE)
    assert [(row.subject, row.state) for row in rows] == [("code", "ok"), ("Python", "note"), ("packages", "ok")]
    same = replace(STATE, packages=("numpy 2.0 (2.1)",))
    assert [row.state for row in comparison.versions({"a": same}, same)] == ["ok", "ok", "note"]


@pytest.mark.parametrize(("gpus", "told", "state", "said"), [
    (2, 2, ["ok"], "2 GPUs (Ray: 2, H100)"), (0, 2, ["ok", "fault"], "torch sees 0"),
    (4, 2, ["ok", "note"], "2 of its GPUs are not Ray's"),
])
def test_gpus_that_torch_sees_stand_beside_those_that_ray_was_told_of(
    gpus: int, told: int, state: list[str], said: str
) -> None:
    resources = {"CPU": 8.0, "GPU": float(told), "accelerator_type:H100": 1.0}
    rows = comparison.hardware("a", replace(STATE, gpus=gpus), resources)
    assert [row.state for row in rows] == state and said in rows[-1].detail


def test_a_full_disk_for_temporary_files_is_noted() -> None:
    row = comparison.hardware("a", replace(STATE, free=1.0), {"GPU": 2.0})[-1]
    assert row.state == "note" and "/tmp" in row.detail and "TMPDIR" in row.remedy


def test_ray_without_a_token_is_a_fault_of_a_node_and_with_one_it_is_well() -> None:
    def at(port: int, token: bool) -> Listening:
        return Listening(owner="Ray", address="", port=port, token=token)

    rows = comparison.ports({"b": replace(STATE, listening=(at(1, True),)),
                             "a": replace(STATE, listening=tuple(at(port, False) for port in range(1, 10)))})
    assert [(row.subject, row.state) for row in rows] == [("a: Ray", "fault")]
    assert "*:1, *:2, *:3, *:4, *:5, *:6 and 3 more" in rows[0].detail and "RAY_AUTH_MODE=token" in rows[0].remedy
    server = Listening(owner="MLflow", address="10.0.0.1", port=5000, token=False)
    rows = comparison.ports({"b": replace(STATE, listening=(at(1, True), server))})
    assert [(row.subject, row.state) for row in rows] == [("b: MLflow", "note"), ("Ray", "ok")]
    assert "wants a token" in rows[1].detail and "10.0.0.1:5000" in rows[0].detail
    assert "nobody else reaches it" in comparison.ports({"a": STATE})[0].detail


def test_nodes_that_did_not_come_are_missing() -> None:
    assert [comparison.complete(*each).state for each in ((1, 1), (3, 1), (2, 2), (1, 2))] == [*["ok"] * 3, "missing"]
    assert comparison.complete(1, 2).detail == "1 of 2 nodes joined"


def test_a_node_that_died_is_told_of_until_another_has_its_address() -> None:
    def node(address: str, alive: bool, reason: int = 0) -> dict[str, object]:
        return {"NodeManagerAddress": address, "NodeManagerHostname": f"host{address}", "Alive": alive,
                "DeathReason": reason, "DeathReasonMessage": "health check failed"}

    rows = comparison.departed([node("1", True), node("1", False, 2), node("2", False, 2), node("3", False, 1)])
    assert [(row.subject, row.state) for row in rows] == [("host2 (2)", "note")] and "health check" in rows[0].detail


def test_nodes_that_share_a_host_s_name_have_names_of_their_own_in_order() -> None:
    def node(host: str, address: str, number: str) -> dict[str, str]:
        return {"NodeManagerHostname": host, "NodeManagerAddress": address, "NodeID": number * 16}

    given = [node("vm", "10.0.0.2", "a"), node("b", "10.0.0.9", "b"), node("vm", "10.0.0.1", "c")]
    assert list(named(given)) == ["b", "vm (10.0.0.1)", "vm (10.0.0.2)"]
    assert list(named([node("vm", "10.0.0.1", "d"), node("vm", "10.0.0.1", "c")])) == ["vm (cccccccc)", "vm (dddddddd)"]


def test_who_does_not_reach_whom_is_said_by_name_and_a_stranger_at_an_address_is_none_of_us() -> None:
    port, why = reach.listen("127.0.0.2", "b")
    assert port and not why
    assert reach.unreached({"b": ("127.0.0.2", port)}) == {}
    missed = reach.unreached({"c": ("127.0.0.2", port), "d": ("127.0.0.3", port), "b": ("127.0.0.2", port)})
    assert missed == {"c": "somebody else answers at 127.0.0.2", "d": "Connection refused"}
    rows = reach.told({"a": missed, "b": {}}, {}, {})
    assert [(row.subject, row.state) for row in rows] == [("a", "fault"), ("a", "fault")]
    assert "does not reach d (Connection refused)" in rows[1].detail and "firewall" in rows[1].remedy
    assert reach.told({"a": {}, "b": {}}, {}, {})[0].state == "ok"
    port, why = reach.listen("192.0.2.1", "a")  # an address that no machine has
    assert port == 0 and why and reach.told({}, {"a": why}, {"a": "192.0.2.1"})[0].state == "fault"


def test_nccl_is_for_nodes_with_a_free_gpu() -> None:
    known = {name: {"NodeID": f"id-{name}", "Resources": {"GPU": n}} for name, n in (("a", 2), ("b", 1), ("c", 0))}
    assert by_gpus(known, {"id-a": {"GPU": 1.0}, "id-b": {"CPU": 3.0}}) == (["a"], ["b"])


def test_what_names_say_alike_stands_together() -> None:
    assert grouped({"c": "x", "a": "x", "b": "y"}) == {"x": "a, c", "y": "b"}


def test_a_machine_says_all_of_itself() -> None:
    said = state()
    assert said.cpus and said.memory > 0 and said.code.startswith("0.1") and set(said.interfaces) == {"gloo", "nccl"}
