"""Stage `export`: the delivered file in the device's own format, checked and measured."""
