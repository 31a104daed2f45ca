echo Köln
