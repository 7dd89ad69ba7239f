"""`STATES`: the capitals of the fifty states of the United States, each with another of its cities."""

from portal.words.table import read_table

STATES = read_table(
    "state",
    """
state, capital, code, city
Alabama, Montgomery, AL, Birmingham
Alaska, Juneau, AK, Anchorage
Arizona, Phoenix, AZ, Tucson
Arkansas, Little Rock, AR, Fayetteville
California, Sacramento, CA, Los Angeles
Colorado, Denver, CO, Boulder
Connecticut, Hartford, CT, New Haven
Delaware, Dover, DE, Wilmington
Florida, Tallahassee, FL, Miami
Georgia, Atlanta, GA, Savannah
Hawaii, Honolulu, HI, Hilo
Idaho, Boise, ID, Pocatello
Illinois, Springfield, IL, Chicago
Indiana, Indianapolis, IN, Fort Wayne
Iowa, Des Moines, IA, Cedar Rapids
Kansas, Topeka, KS, Wichita
Kentucky, Frankfort, KY, Louisville
Louisiana, Baton Rouge, LA, New Orleans
Maine, Augusta, ME, Portland
Maryland, Annapolis, MD, Baltimore
Massachusetts, Boston, MA, Worcester
Michigan, Lansing, MI, Detroit
Minnesota, Saint Paul, MN, Minneapolis
Mississippi, Jackson, MS, Biloxi
Missouri, Jefferson City, MO, Kansas City
Montana, Helena, MT, Billings
Nebraska, Lincoln, NE, Omaha
Nevada, Carson City, NV, Las Vegas
New Hampshire, Concord, NH, Manchester
New Jersey, Trenton, NJ, Newark
New Mexico, Santa Fe, NM, Albuquerque
New York, Albany, NY, Buffalo
North Carolina, Raleigh, NC, Charlotte
North Dakota, Bismarck, ND, Fargo
Ohio, Columbus, OH, Cleveland
Oklahoma, Oklahoma City, OK, Tulsa
Oregon, Salem, OR, Portland
Pennsylvania, Harrisburg, PA, Philadelphia
Rhode Island, Providence, RI, Newport
South Carolina, Columbia, SC, Charleston
South Dakota, Pierre, SD, Sioux Falls
Tennessee, Nashville, TN, Memphis
Texas, Austin, TX, Houston
Utah, Salt Lake City, UT, Provo
Vermont, Montpelier, VT, Burlington
Virginia, Richmond, VA, Norfolk
Washington, Olympia, WA, Seattle
West Virginia, Charleston, WV, Huntington
Wisconsin, Madison, WI, Milwaukee
Wyoming, Cheyenne, WY, Laramie
""",
)
