"""Words that prompts are made of."""

from __future__ import annotations

_TEXT = """
able about above act add after again age ago air all also always among and animal answer any appear area arm army art
ask back bad ball bank base bear beat beauty bed been before began begin behind believe best better between big bird
black blood blow blue board boat body bone book born both bottom box boy break bring brother brought brown build burn
business busy but buy call came can capital car card care carry case cat catch cause cell center central chance change
charge check chief child choice church circle city claim class clean clear clock close cloud coast cold color come
common company complete consider contain control cook cool copy corn corner correct cost cotton could count country
course cover create cross cry current cut dance dark data date daughter day dead deal dear death decide deep degree
design develop did die direct distant divide do doctor does dog done door double down draw dream dress drink drive
drop dry during each early earth ease east eat edge effect egg eight either electric else end enemy energy engine
enough enter equal even evening ever every exact example except expect experience eye face fact fair fall family
famous far farm fast father fear feed feel feet felt few field fight figure fill final find fine finger finish fire
first fish fit five flat floor flow flower fly follow food foot for force foreign forest form forward found four free
fresh friend from front fruit full fun game garden gas gave general get girl give glad glass go gold gone good got
govern grand grass gray great green ground group grow guess guide had hair half hand happen happy hard has hat have he
head hear heart heat heavy held help her here high hill him his history hit hold hole home hope horse hot hotel hour
house how huge human hundred hunt ice idea if in inch include indicate industry instant interest into iron is island
it job join jump just keep key kill kind king knew know lady lake land language large last late laugh law lay lead
learn least leave led left leg length less let letter level lie life lift light like line list listen little live
local long look lost lot loud love low machine made main major make man many map mark market mass master match
material matter may me mean measure meat meet member men metal method middle might mile milk million mind mine minute
miss modern moment money month moon more morning most mother motion mountain mouth move much music must my name nation
nature near necessary neck need never new next night nine no noise none nor north nose note nothing notice now number
object ocean of off offer office often oil old on once one only open operate opposite or order original other our out
over own page paint pair paper parent part party pass past path pattern pay people perhaps period person phrase pick
picture piece place plain plan plane plant play please point poor popular port pose position possible post pound power
present press pretty print problem process produce product proper property protect prove provide public pull push put
question quick quiet quite race radio rain raise range rate reach read ready real reason receive record red region
remember repeat reply report rest result rich ride right ring rise river road rock roll room root rope rose round row
rule run safe said sail salt same sand save saw say scale school science score sea search season seat second section
see seed seem sell send sense sent separate serve set settle seven several shape share sharp she sheet ship shoe shop
short should shoulder shout show side sight sign silent silver similar simple since sing single sister sit six size
skill skin sky sleep slip slow small smell smile snow so soft soil soldier solution solve some son song soon sound
south space speak special speech speed spell spend spoke spot spread spring square stand star start state station stay
steel step stick still stone stood stop store story straight strange stream street string strong student study subject
success such sudden sugar suit summer sun supply support sure surface surprise system table tail take talk tall teach
team tell ten term test than that the their them then there these they thick thin thing think third this those though
thought thousand three through time tiny to together told tone too took tool top total touch toward town track trade
train travel tree triangle trip trouble truck true try tube turn twenty two type under unit until up upon use usual
valley value various very view visit voice vowel wait walk wall want war warm was wash watch water wave way we wear
weather week weight well went were west what wheel when where whether which while white who whole whose why wide wife
wild will win wind window winter wire wish with woman women wonder wood word work world would write wrong yard year
yellow yes yet you young your
"""

WORDS = tuple(_TEXT.split())
"""Common ones: tokenizers of large language models know each, with the blank before it, as one token."""
