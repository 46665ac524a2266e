"""The cache folder."""

from ssltut.files import cache_dir


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("SSLTUT_CACHE")
    assert cache_dir().name == "ssltut"
