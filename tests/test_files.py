from salience.files import write_text


def test_a_name_that_is_no_utf8_is_written_as_an_escape(tmp_path):
    write_text(tmp_path / "names.txt", "ü caf\udce9\n")
    assert (tmp_path / "names.txt").read_text(encoding="utf-8") == "ü caf\\udce9\n"
