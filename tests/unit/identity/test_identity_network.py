"""Country, named locations and risk: what is true around an address, and what is said when it is not known."""

import asyncio
import importlib.util
import os
import struct
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from sqlalchemy import select

from remit.identity.directory import tables as directory_tables
from remit.identity.surroundings import country as country_module
from remit.identity.surroundings import locations as locations_module
from remit.identity.surroundings.country import Countries
from remit.identity.surroundings.locations import MAX_AGE, NamedLocations
from remit.identity.surroundings.network import Network
from remit.identity.surroundings.risk import FORGOTTEN, Risk
from remit.model.decision import Circumstances
from remit.model.identity import Authentication, Identity
from remit.state.database import open_database
from remit.state.schema import migrate
from remit.state.settings import StateSettings

NAME = "identity_lab_graph"
if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name("lab_graph.py"))
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
world_of = sys.modules[NAME]
DANA = world_of.DANA
NOW = 1_795_000_000
WHO = Identity(DANA, "dana", frozenset(), NOW, frozenset(), frozenset(), "", Authentication(), False, NOW, NOW, "")


def encoded(value):
    """A value in the data format of MaxMind DB (maxmind.github.io/MaxMind-DB, section "Output Data Section")."""
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(encoded(key) + encoded(each) for key, each in value.items())
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(encoded, value))
    if isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return bytes([6 << 5 | len(raw)]) + raw
    raw = value.encode()
    assert len(raw) < 29
    return bytes([2 << 5 | len(raw)]) + raw


def database(networks, version=6):
    """A MaxMind DB of a few networks, with records of 24 bits."""
    tree = [[None, None]]
    data, offsets = b"", {}
    for network, record in networks.items():
        cidr = ip_network(network)
        bits = f"{int(cidr.network_address):0{cidr.max_prefixlen}b}"[: cidr.prefixlen]
        if cidr.version == 4 and version == 6:
            bits = "0" * 96 + bits
        offsets[network] = len(data)
        data += encoded(record)
        node = 0
        for bit in bits[:-1]:
            if tree[node][int(bit)] is None:
                tree.append([None, None])
                tree[node][int(bit)] = len(tree) - 1
            node = tree[node][int(bit)]
        tree[node][int(bits[-1])] = ("data", offsets[network])

    def record(entry):
        if entry is None:
            return len(tree)
        return entry if isinstance(entry, int) else len(tree) + 16 + entry[1]

    nodes = b"".join(struct.pack(">I", record(side))[1:] for node in tree for side in node)
    metadata = {
        "node_count": len(tree),
        "record_size": 24,
        "ip_version": version,
        "database_type": "Test-Country",
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": NOW,
        "description": {},
    }
    return nodes + b"\0" * 16 + data + b"\xab\xcd\xefMaxMind.com" + encoded(metadata)


def at(code):
    return {"country": {"iso_code": code}}


NETWORKS = {
    "203.0.113.0/24": at("DE"),
    "198.51.100.0/24": at("KP"),
    "2001:db8::/32": at("FR"),
    "192.0.2.0/28": at("lower"),
    "192.0.2.16/28": {"country": "DE"},
    "192.0.2.32/28": {},
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "country.mmdb"
    path.write_bytes(database(NETWORKS))
    return path


@pytest.fixture
def countries(file):
    countries = Countries(file)
    countries.refresh()
    assert countries.trouble == ""
    return countries


@pytest.fixture
def world():
    return world_of.LabWorld()


@pytest.fixture
def engine(request, tmp_path):
    url = f"sqlite:///{tmp_path}/state.db"
    if getattr(request, "param", "sqlite") == "postgres":
        server, name = request.getfixturevalue("postgres"), f"d{uuid.uuid4().hex}"
        admin = open_database(StateSettings(server))
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"create database {name}")
        admin.dispose()
        url = server.replace("/postgres?", f"/{name}?")
    engine = open_database(StateSettings(url))
    migrate(engine, "identity_directory", directory_tables.metadata, directory_tables.STEPS)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("peer", "country"),
    [
        ("203.0.113.7", "DE"),
        ("::ffff:203.0.113.7", "DE"),
        ("2001:db8::1", "FR"),
        ("2001:db8::1%eth0", "FR"),
        ("192.0.2.1", ""),
        ("192.0.2.17", ""),
        ("192.0.2.33", ""),
        ("8.8.8.8", ""),
        ("", ""),
        ("unix:", ""),
        ("203.0.113.7:443", ""),
    ],
)
@pytest.mark.promise("V23")
def test_the_country_of_an_address(countries, peer, country):
    network = Network(countries)
    for _ in range(2):
        assert network.observe(WHO, Circumstances(NOW, peer)) == Circumstances(NOW, peer, country=country)


def test_a_database_of_one_version_knows_nothing_of_the_other(tmp_path):
    path = tmp_path / "four.mmdb"
    path.write_bytes(database({"203.0.113.0/24": at("DE")}, version=4))
    countries = Countries(path)
    countries.refresh()
    assert countries.of(ip_address("203.0.113.1")) == "DE"
    assert countries.of(ip_address("2001:db8::1")) == ""


def test_without_a_database_no_country_is_known():
    countries = Countries()
    countries.refresh()
    assert not countries.known
    assert countries.of(ip_address("203.0.113.7")) == ""
    assert Network(countries).trouble == ""


def test_a_file_that_changes_is_read_anew_and_a_broken_one_leaves_the_last(countries, file, monkeypatch):
    address = ip_address("203.0.113.7")
    assert countries.of(address) == "DE"
    fresh = file.with_suffix(".new")
    fresh.write_bytes(database({"203.0.113.0/24": at("AT")}))
    fresh.replace(file)
    countries.refresh()
    assert countries.of(address) == "AT"
    file.write_bytes(b"rubbish")
    countries.refresh()
    assert countries.of(address) == "AT"
    assert "InvalidDatabaseError" in countries.trouble
    assert "cannot be read" in Network(countries).trouble
    file.unlink()
    countries.refresh()
    assert "FileNotFoundError" in countries.trouble
    file.write_bytes(database(NETWORKS))
    countries.refresh()
    assert (countries.of(address), countries.trouble) == ("DE", "")
    monkeypatch.setattr(country_module, "MAX_FILE", 10)
    os.utime(file, ns=(1, 1))
    countries.refresh()
    assert "ValueError" in countries.trouble


def test_an_unchanged_file_is_not_read_again_and_few_answers_are_kept(countries, monkeypatch):
    reader = countries._reader
    countries.refresh()
    assert countries._reader is reader
    monkeypatch.setattr(country_module, "REMEMBERED", 2)
    for last in range(5):
        countries.of(ip_address(f"203.0.113.{last}"))
    assert len(countries._remembered) <= 2


def locations_of(world, *given):
    if given:
        world.lab.operations.locations = given
    locations = NamedLocations(world.graph, clock=world.clock)
    assert asyncio.run(locations.refresh())
    return locations


def observed(network, peer):
    return network.observe(WHO, Circumstances(NOW, peer)).locations


@pytest.mark.promise("V23")
def test_named_locations_that_an_address_lies_in(world, countries):
    network = Network(countries, locations_of(world))
    assert observed(network, "203.0.113.7") == {"Head office"}
    assert observed(network, "::ffff:203.0.113.7") == {"Head office"}
    assert observed(network, "198.51.100.9") == {"Sanctioned countries"}
    assert observed(network, "2001:db8::1") == frozenset()
    assert observed(network, "not an address") == frozenset()
    assert network.trouble == ""


def ranges(name, *cidrs, **more):
    each = [{"cidrAddress": cidr} for cidr in cidrs]
    return {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "displayName": name,
        "id": name,
        "ipRanges": each,
        **more,
    }


def by_country(name, codes, **more):
    kind = "#microsoft.graph.countryNamedLocation"
    return {"@odata.type": kind, "displayName": name, "id": name, "countriesAndRegions": codes, **more}


def test_ranges_of_both_families_and_names_that_stand_twice(world, countries):
    given = (ranges("lab", "10.0.0.0/8", "2001:db8:1::/48"), ranges("lab", "192.0.2.0/24"), ranges("all", "0.0.0.0/0"))
    network = Network(countries, locations_of(world, *given))
    assert observed(network, "10.1.2.3") == {"lab", "all"}
    assert observed(network, "192.0.2.9") == {"lab", "all"}
    assert observed(network, "2001:db8:1::1") == {"lab"}
    assert observed(network, "2001:db8:2::1") == frozenset()


def test_countries_with_and_without_a_database(world, countries):
    given = (by_country("home", ["de", "fr"]), by_country("nowhere", ["KP"], includeUnknownCountriesAndRegions=True))
    locations = locations_of(world, *given)
    network = Network(countries, locations)
    assert observed(network, "203.0.113.7") == {"home"}
    assert observed(network, "8.8.8.8") == {"nowhere"}
    without = Network(Countries(), locations)
    assert observed(without, "203.0.113.7") == observed(without, "8.8.8.8") == frozenset()
    assert "no country database" in without.trouble


def test_what_cannot_be_told_is_said(world, countries):
    given = (
        by_country("phones", ["DE"], countryLookupMethod="authenticatorAppGps"),
        by_country("odd", "DE"),
        {"@odata.type": "#microsoft.graph.compliantNetworkNamedLocation", "displayName": "gsa", "id": "1"},
        {"@odata.type": "#microsoft.graph.ipNamedLocation", "displayName": "none", "id": "2", "ipRanges": 7},
        ranges("office", "203.0.113.0/24", "203.0.113.0/99"),
        {"id": "3"},
    )
    world.lab.operations.locations = (*given, {"displayName": 3, "id": "4"})
    locations = NamedLocations(world.graph, clock=world.clock)
    assert "no named location is known" in locations.trouble
    asyncio.run(locations.refresh())
    for words in ("`phones`", "`odd`", "`gsa`", "a range of `none`", "a range of `office`", "one without a name"):
        assert words in locations.trouble
    assert observed(Network(countries, locations), "203.0.113.7") == {"office"}


def test_what_could_not_be_told_is_said_to_policies(world, countries):
    def known(network, peer):
        return network.observe(WHO, Circumstances(NOW, peer)).locations_known

    locations = locations_of(world)
    assert known(Network(countries, locations), "203.0.113.7")
    # without a database nobody knows whether an address of the Internet lies in a country that is named
    without = Network(Countries(), locations)
    assert [known(without, peer) for peer in ("8.8.8.8", "2001:4860:4860::8888")] == [False, False]
    assert [known(without, peer) for peer in ("127.0.0.1", "10.1.2.3", "::1", "::ffff:10.1.2.3")] == [True] * 4
    # no address, no directory, no answer of it yet, and one that is a day old
    assert not known(Network(countries, locations), "")
    assert not known(Network(countries), "127.0.0.1")
    assert not known(Network(countries, NamedLocations(world.graph, clock=world.clock)), "127.0.0.1")
    world.clock.now += MAX_AGE + 1
    assert not known(Network(countries, locations), "127.0.0.1")


def test_the_last_locations_serve_for_a_day(world, countries, caplog):
    locations = locations_of(world)
    network = Network(countries, locations)
    world.permissions = []
    assert not asyncio.run(locations.refresh())
    assert "named locations are not read: Microsoft Graph refuses" in network.trouble
    world.clock.now += MAX_AGE
    assert observed(network, "203.0.113.7") == {"Head office"}
    world.clock.now += 1
    assert observed(network, "203.0.113.7") == frozenset()
    assert "no named location is known" in network.trouble
    world.permissions = ["Policy.Read.All"]
    assert asyncio.run(locations.refresh())
    assert observed(network, "203.0.113.7") == {"Head office"}
    assert network.trouble == ""


def test_a_reading_that_failed_is_followed_by_another_one_soon(world):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        await asyncio.sleep(0)
        world.down = len(waited) not in {10, 11}
        if len(waited) == 14:
            raise asyncio.CancelledError

    world.down = True
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(NamedLocations(world.graph, clock=world.clock, sleep=sleep).keep_fresh())
    assert waited == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 1, 2]


def test_graphs_own_pause_is_kept(world):
    """Graph says when it wants to be asked again: until then nothing is sent, however soon the next reading comes."""
    began, sent = world.clock.now, []

    async def throttled():
        sent.append(world.clock.now - began)

    async def sleep(seconds):
        await world.clock.sleep(seconds)
        if sent and world.clock.now - began > 90:
            raise asyncio.CancelledError

    world.before = throttled
    world.throttled = 60
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(NamedLocations(world.graph, clock=world.clock, sleep=sleep).keep_fresh())
    assert sent[0] == 0
    assert sent[1] >= 60


def test_few_addresses_are_remembered(world, monkeypatch):
    monkeypatch.setattr(locations_module, "REMEMBERED", 2)
    locations = locations_of(world)
    for last in (1, 2, 3, 1):
        assert locations.holding(ip_address(f"203.0.113.{last}"), None) == {"Head office"}
    assert len(locations._view.told) <= 2


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_many_words_at_once_leave_no_thread_waiting_for_another(engine):
    async def story():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        risk = Risk(engine, engine, wall=lambda: float(NOW))
        async with asyncio.timeout(20):
            await asyncio.gather(*(asyncio.to_thread(risk.put, f"t/{each}", "high", NOW) for each in range(8)))
        assert [risk.of(f"t/{each}", NOW) for each in range(8)] == ["high"] * 8

    asyncio.run(story())


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
def test_risk_is_shared_and_the_newest_word_counts(engine):
    async def story():
        wall = lambda: NOW + 100.0  # noqa: E731 - the clock of both
        one, two = Risk(engine, engine, wall=wall), Risk(engine, engine, wall=wall)
        assert one.of(DANA.key, NOW) == ""
        await one.set(DANA.key, "high", NOW)
        assert (one.of(DANA.key, NOW), two.of(DANA.key, NOW)) == ("high", "")
        assert await two.refresh()
        assert two.of(DANA.key, NOW) == "high"
        await two.set(DANA.key, "low", NOW - 10)
        assert two.of(DANA.key, NOW) == "high"
        await one.refresh()
        assert one.of(DANA.key, NOW) == "high"
        await two.set(DANA.key, "none", NOW + 10)
        await one.refresh()
        assert one.of(DANA.key, NOW + 10) == two.of(DANA.key, NOW + 10) == "none"
        assert one.of(DANA.key, NOW + 10 + FORGOTTEN) == ""
        observer = Network(Countries(), risk=one)
        assert observer.observe(WHO, Circumstances(NOW, "x")).risk == "none"
        with pytest.raises(ValueError, match="a risk is one of"):
            await one.set(DANA.key, "extreme", NOW)

    asyncio.run(story())


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
def test_risk_is_forgotten_and_bounded(engine):
    async def story():
        now = [float(NOW)]
        risk = Risk(engine, engine, size=2, wall=lambda: now[0])
        for number in range(3):
            await risk.set(f"t/{number}", "high", NOW + number)
        await risk.refresh()
        assert [risk.of(f"t/{number}", NOW) for number in range(3)] == ["", "high", "high"]
        now[0] += FORGOTTEN + 1
        await risk.set("t/3", "low", int(now[0]))
        with engine.connect() as connection:
            kept = connection.execute(select(directory_tables.risks.c.subject)).scalars().all()
        assert sorted(kept) == ["t/2", "t/3"]

    asyncio.run(story())


def test_risk_that_cannot_be_read_leaves_the_last_view(engine):
    async def story():
        risk = Risk(engine, engine, wall=lambda: float(NOW))
        await risk.set(DANA.key, "high", NOW)
        directory_tables.risks.drop(engine)
        assert not await risk.refresh()
        assert risk.of(DANA.key, NOW) == "high"
        assert "OperationalError" in Network(Countries(), risk=risk).trouble
        directory_tables.risks.create(engine)
        assert await risk.refresh()
        assert risk.trouble == ""

    asyncio.run(story())


def test_every_part_is_kept_fresh(world, file, engine):
    async def story():
        risk = Risk(engine, engine, wall=lambda: float(NOW))
        other = Risk(engine, engine, wall=lambda: float(NOW))
        locations = NamedLocations(world.graph, clock=world.clock)
        network = Network(Countries(file), locations, risk)
        tasks = [asyncio.create_task(each.keep_fresh(0.01)) for each in (network, locations, risk)]
        await other.set(DANA.key, "medium", NOW)
        await asyncio.sleep(0.5)
        found = network.observe(WHO, Circumstances(NOW, "203.0.113.7"))
        assert (found.country, found.locations, found.risk) == ("DE", {"Head office"}, "medium")
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)

    asyncio.run(story())
